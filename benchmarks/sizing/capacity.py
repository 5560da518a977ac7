"""`python -m benchmarks.sizing.capacity`: the cores that a load needs, what limits first, what a billion reviews cost.

Writes deploy/capacity.md from benchmarks/results and from the assumptions, which are the command's options.
"""

import asyncio
import json
import math
import textwrap
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

import click
import httpx

from benchmarks import results
from benchmarks.load import stream
from benchmarks.plan import TEXTS_A_BATCH
from benchmarks.report import markdown
from service.app import create_app
from service.settings import Settings
from service.telemetry import logs

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "deploy/capacity.md"

_SINGLE, _BATCH = 1900.0, 2500.0  # reviews a second, placeholders while benchmarks/results/closed.json is missing
_CONNECTIONS = "64"  # of the closed loop whose rate is used
_LOADS = (1_000, 100_000, 1_000_000)  # reviews a second
_SAMPLE, _SEED = 200, 1  # texts whose requests and answers are measured
_HEADERS = 200  # bytes of the HTTP head of a request, and of an answer
_SEGMENT = 1448  # payload bytes of a TCP segment on Ethernet
_SCRAPE_SECONDS = 15
_MACHINE_CORES = 16
# "1 Billion Classifications", Hugging Face, 2025: a sentiment DistilBERT (135 M parameters), texts of about 100 tokens,
# Infinity on one NVIDIA L4, batches of 64, closed loop.
_PUBLISHED = "https://huggingface.co/blog/billion-classifications"
_L4_DOLLARS_AN_HOUR, _L4_DOLLARS_A_BILLION = 0.80, 253.82


@dataclass(frozen=True)
class Rates:
    """Reviews a second that one core answers."""

    single: float  # in requests of one review
    batch: float  # in requests of TEXTS_A_BATCH reviews
    source: str  # one sentence on how they were measured


@dataclass(frozen=True)
class Assumptions:
    """Numbers that no benchmark here measures."""

    headroom: float = 0.6  # planned load of a core, as a share of its rate
    dollars_a_core_hour: float = 0.04
    link_gigabits: float = 10.0  # a second, of a load balancer
    packets_a_second: float = 1e6  # of a load balancer


@dataclass(frozen=True)
class Sizes:
    """Traffic of one review, in the mean, HTTP heads included; and the time series of one pod."""

    request: float  # bytes
    answer: float  # bytes
    packets: float  # in requests of one review
    batch_packets: float  # in requests of TEXTS_A_BATCH reviews
    series: int  # that Prometheus reads from a pod


def rates(folder: Path = results.FOLDER) -> Rates:
    """The medians of `closed.json` in `folder`, or placeholders if it is missing."""
    path = folder / "closed.json"
    if not path.exists():
        source = "**Not measured yet** (`python -m benchmarks closed`): these figures are placeholders."
        return Rates(_SINGLE, _BATCH, source)
    result = json.loads(path.read_text())
    rounds, machine = result["found"]["rounds"], result["machine"]
    single = median(one["single"][_CONNECTIONS]["requests_per_second"] for one in rounds)
    batch = median(max(load["requests_per_second"] for load in one["batch"].values()) for one in rounds)
    quick = " From a quick run: not to be quoted." if result["quick"] else ""
    source = (
        f"Medians of `python -m benchmarks closed`; for 64 reviews, of the better of one and two connections in each "
        f"round. Measured on {machine['processor']}, one core for the service, "
        f"{result['texts']}, revision {str(machine['git_revision'])[:8]}; "
        f"[Speed](../docs/speed.md) tells how fast that machine was.{quick}"
    )
    return Rates(single, batch * TEXTS_A_BATCH, source)


async def _sizes() -> Sizes:
    """Measures requests and answers of the service, called in this process."""
    logs.configure("json", "error")
    app = create_app(Settings(model=ROOT / stream.MODEL, provider="cpu", threads=1))
    texts = stream.reviews(_SAMPLE, None, _SEED)
    requests, answers = [], []
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://ovation") as client,
    ):
        for text in texts:
            answer = await client.post("/predict", json={"text": text})
            requests.append(len(answer.request.content) + _HEADERS)
            answers.append(len(answer.content) + _HEADERS)
        metrics = (await client.get("/metrics")).text
    series = sum(not line.startswith("#") for line in metrics.splitlines())
    packets = mean(math.ceil(size / _SEGMENT) for size in [*requests, *answers]) * 2 + 1  # plus an ACK without data
    batch_packets = (mean(requests) + mean(answers)) / _SEGMENT
    return Sizes(mean(requests), mean(answers), packets, batch_packets, series)


def page(rates: Rates, sizes: Sizes, assumed: Assumptions, folder: Path = results.FOLDER) -> str:
    """The text of deploy/capacity.md; its latency and start-up time are read from `folder`."""
    link = assumed.link_gigabits * 1e9 / 8
    pod_megabits = rates.single * (sizes.request + sizes.answer) * 8 / 1e6
    most = _LOADS[-1]
    pods = math.ceil(most / rates.single / assumed.headroom)
    limits = [
        f"**Cores** limit first. At its full rate a core receives and sends {pod_megabits:.0f} Mbit/s, and a machine "
        f"of {_MACHINE_CORES} such cores {pod_megabits * _MACHINE_CORES / 1000:.2f} Gbit/s: its processor is saturated "
        "before its network card.",
        f"**The load balancer's packets**, with requests of one review: at about {sizes.packets:.1f} packets a review, "
        f"a load balancer of {assumed.packets_a_second:,.0f} packets/s (assumed) is saturated at "
        f"{_round(assumed.packets_a_second / sizes.packets):,} reviews/s. Requests of {TEXTS_A_BATCH} reviews take "
        f"{sizes.batch_packets:.1f} packets a review.",
        f"**The load balancer's link**: {assumed.link_gigabits:g} Gbit/s inwards (assumed) are saturated at "
        f"{_round(link / sizes.request):,} reviews/s. A request of one review has {sizes.request / 1000:.1f} kB in the "
        f"mean, its answer {sizes.answer / 1000:.1f} kB, heads of {_HEADERS} bytes included. Beyond that rate, use "
        "several load balancers, by DNS or anycast.",
        f"**Connections**: {_CONNECTIONS} kept a core busy when the rate was measured; {most:,} reviews/s are {pods:,} "
        f"pods and {pods * int(_CONNECTIONS):,} connections. All requests of one connection go to one pod: to use all "
        "pods takes many callers, or a proxy that distributes requests.",
        f"**Cold start**: a new pod answers {_start(folder)}; if it needs a new machine, after minutes. How many "
        "reviews are refused meanwhile is simulated in [kubernetes/README.md](kubernetes/README.md).",
        f"**Scraping**: a pod has about {_round(sizes.series)} series, read every {_SCRAPE_SECONDS} s: at {most:,} "
        f"reviews/s {_round(pods * sizes.series):,} series and {_round(pods * sizes.series / _SCRAPE_SECONDS):,} "
        "samples/s. That takes recording rules for the sums in dashboards, and later several Prometheus servers.",
    ]
    parts = [
        "# Capacity on paper",
        "Written by `python -m benchmarks.sizing.capacity`, whose options are the assumptions. A core is what "
        "Kubernetes and the operating system count as one CPU; a pod has one.",
        "## The rate of a core",
        markdown(
            ["requests", "reviews/s a core"],
            [
                [f"of one review, {_CONNECTIONS} connections", f"{rates.single:,.0f}"],
                [f"of {TEXTS_A_BATCH} reviews", f"{rates.batch:,.0f}"],
            ],
        ),
        rates.source,
        "## How many cores",
        f"Planned at {assumed.headroom:.0%} of that rate. {_latency(folder)}",
        _cores(rates, sizes, assumed),
        "Run at least two pods, whatever the table says. Packets and series are for requests of one review.",
        "## What limits first",
        "\n".join(textwrap.fill(limit, 120, initial_indent="- ", subsequent_indent="  ") for limit in limits),
        "## What a billion reviews cost",
        _costs(rates, assumed),
        f"A core hour is assumed to cost ${assumed.dollars_a_core_hour:.2f}. The last row is published, not measured "
        f"here: [1 Billion Classifications]({_PUBLISHED}), a sentiment DistilBERT of 135 million parameters, texts of "
        f"about 100 tokens (ours have {_mean_tokens():.0f}), one NVIDIA L4, batches of 64, throughput alone; its rate "
        "follows from the published cost and price. It is a larger, multilingual model, and its accuracy on these "
        "reviews was not measured: the row shows what a billion reviews cost on a GPU, not that the models are equal.",
    ]
    lines = [part if part.startswith(("#", "-", "|")) else textwrap.fill(part, 120) for part in parts]
    return "\n\n".join(lines) + "\n"


def _cores(rates: Rates, sizes: Sizes, assumed: Assumptions) -> str:
    lines = []
    for load in _LOADS:
        single, batch = (math.ceil(load / rate / assumed.headroom) for rate in (rates.single, rates.batch))
        gigabits = [f"{load * size * 8 / 1e9:,.2g}" for size in (sizes.request, sizes.answer)]
        packets_and_series = [f"{_round(value):,}" for value in (load * sizes.packets, single * sizes.series)]
        lines.append([f"{load:,}", f"{single:,}", f"{batch:,}", *gigabits, *packets_and_series])
    names = ["cores", f"cores, {TEXTS_A_BATCH} a request", "Gbit/s in", "Gbit/s out", "packets/s", "Prometheus series"]
    return markdown(["reviews/s", *names], lines)


def _round(value: float) -> int:
    """`value`, rounded to two significant digits."""
    return int(float(f"{value:.1e}"))


def _mean_tokens() -> float:
    lengths = json.loads(stream.LENGTHS.read_text())
    return float(lengths["tokens"] / lengths["reviews"])


def _latency(folder: Path) -> str:
    path = folder / "open.json"
    if not path.exists():
        return "The latency at that load was not measured yet (`python -m benchmarks open`)."
    points = [point for point in json.loads(path.read_text())["found"]["points"] if point["kind"] == "poisson"]
    latencies = [
        f"{point['statuses']['200']['percentiles_ms'][99]:.0f} ms at {point['share']:.0%}"
        for point in points
        if point["share"] <= 1 and "200" in point["statuses"]
    ]
    return f"p99 latency by share of the rate (`python -m benchmarks open`): {', '.join(latencies)}."


def _start(folder: Path) -> str:
    path = folder / "start.json"
    if not path.exists():
        return "seconds after its image is pulled (`python -m benchmarks start`, not run yet)"
    seconds = median(json.loads(path.read_text())["found"]["seconds"])
    return f"{seconds:.1f} s after its process began (`python -m benchmarks start`)"


def _costs(rates: Rates, assumed: Assumptions) -> str:
    price = assumed.dollars_a_core_hour
    l4 = 1e9 / (_L4_DOLLARS_A_BILLION / _L4_DOLLARS_AN_HOUR * 3600)
    lines: list[list[Any]] = [
        [f"one core, requests of one, at {assumed.headroom:.0%}", rates.single * assumed.headroom, price],
        ["one core, requests of one, at its full rate", rates.single, price],
        [f"one core, {TEXTS_A_BATCH} a request, at its full rate", rates.batch, price],
        ["DistilBERT on an L4, published", l4, _L4_DOLLARS_AN_HOUR],
    ]
    return markdown(
        ["", "reviews/s", "$ an hour", "$ a billion"],
        [[name, f"{rate:,.0f}", f"{cost:.2f}", f"{1e9 / rate / 3600 * cost:,.2f}"] for name, rate, cost in lines],
    )


def written(assumed: Assumptions | None = None) -> str:
    """The page from the results in the repository and from sizes measured now."""
    return page(rates(), asyncio.run(_sizes()), assumed or Assumptions())


@click.command(context_settings={"show_default": True})
@click.option(
    "--headroom", type=click.FloatRange(0.01, 1), default=Assumptions.headroom, help="Planned load, of a core's rate."
)
@click.option("--dollars-a-core-hour", type=float, default=Assumptions.dollars_a_core_hour)
@click.option("--link-gigabits", type=float, default=Assumptions.link_gigabits, help="Of a load balancer.")
@click.option("--packets-a-second", type=float, default=Assumptions.packets_a_second, help="Of a load balancer.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default=PAGE, help="File to write.")
def main(out: Path, **assumed: float) -> None:
    """Writes OUT, the page on capacity."""
    out.write_text(written(Assumptions(**assumed)))
    click.echo(out)


if __name__ == "__main__":
    main()
