"""`python -m benchmarks.sizing.autoscaling`: a day's traffic against the autoscaler that deploy/kubernetes asks for.

Simulated by the second. Each pod is a queue with one server of the measured rate; arrivals are Poisson, shared evenly.
Within a second waits are those of M/M/1; what a pod does not get done waits for the next second, up to the service's
own limit, beyond which texts are refused. The autoscaler is `benchmarks.sizing.hpa` with the manifests' own numbers.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import yaml

from benchmarks.report import markdown
from benchmarks.sizing import capacity, hpa
from service.settings import Settings

FOLDER = capacity.ROOT / "deploy/kubernetes"
Floats = npt.NDArray[np.float64]

_DAY = 86_400
_NIGHT = 0.2  # of the usual peak, which is at noon
_CROWD_AT, _CROWD_RISE, _CROWD_HOLD, _CROWD_FALL = 9 * 3600, 60, 1200, 1800
_SCRAPE_SECONDS = 15  # of metrics-server and of Prometheus
_SCRAPE_AGE = 10  # of the newest figures when the autoscaler looks
_QUEUE_SCRAPES = 4  # that `rate(...[1m])` sees
_MOST_LOAD = 0.98  # beyond that a second is too short for M/M/1
_MARKS = ("<!-- python -m benchmarks.sizing.autoscaling -->", "<!-- end -->")
_BINS = np.geomspace(1e-5, 10, 2401)  # seconds of waiting


@dataclass(frozen=True)
class Case:
    """One line of the table: metrics as (name, target in thousandths), or a fixed number of pods."""

    name: str
    metrics: tuple[tuple[str, int], ...] = ()
    fixed: int = 0
    start_seconds: int = 0


@dataclass
class Day:
    """What came of it, by the second where it is an array."""

    case: Case
    asked: list[int] = field(default_factory=list)  # pods
    ready: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)  # reviews
    counts: Floats = field(default_factory=lambda: np.zeros(len(_BINS) + 1))  # answered reviews by their wait

    def wait_ms(self, percent: float) -> float:
        """A percentile of the answered reviews' waits."""
        below = np.cumsum(self.counts) / self.counts.sum()
        return float(_BINS[min(int(np.searchsorted(below, percent / 100)), len(_BINS) - 1)] * 1e3)


def traffic(peak: float, crowd: float, seconds: int = _DAY) -> Floats:
    """Reviews a second: a night and a noon, and in the morning a crowd that multiplies what there is."""
    time = np.arange(seconds, dtype=np.float64)
    usual = peak * (_NIGHT + (1 - _NIGHT) * (1 - np.cos(2 * np.pi * time / _DAY)) / 2)
    edges = np.cumsum([_CROWD_AT, _CROWD_RISE, _CROWD_HOLD, _CROWD_FALL])
    found: Floats = usual * np.interp(time, edges, [1, crowd, crowd, 1])
    return found


def autoscaler_spec() -> dict[str, Any]:
    """The HorizontalPodAutoscaler of overlays/monitoring: that of the base, patched."""
    documents = [*yaml.safe_load_all((FOLDER / "base/ovation.yaml").read_text())]
    [base] = [one for one in documents if one["kind"] == "HorizontalPodAutoscaler"]
    patch = yaml.safe_load((FOLDER / "overlays/monitoring/autoscaler.yaml").read_text())
    return {**base["spec"], **patch["spec"]}


def targets(spec: dict[str, Any]) -> dict[str, int]:
    """The target of each metric in thousandths, by what this module calls it."""
    found = {}
    for metric in spec["metrics"]:
        if metric["type"] == "Resource":
            found["cpu"] = metric["resource"]["target"]["averageUtilization"] * 10
        else:
            found["queue"] = int(metric["pods"]["target"]["averageValue"].removesuffix("m"))
    return found


class Pods:
    """All pods there may be, in the order in which they were made; the first `asked` exist."""

    def __init__(self, most: int, rate: float, asked: int) -> None:
        self.rate, self.asked = rate, asked
        self.limit = Settings.model_fields["max_waiting_texts"].default
        self.ready_at = np.zeros(most)
        self.backlog = np.zeros(most)
        self.sums = np.zeros((3, most))  # seconds of work, seconds of waiting, answered reviews
        self._scrapes: list[tuple[int, Floats]] = []

    def ask(self, now: int, count: int, start_seconds: int) -> None:
        """Makes more, or takes away the youngest; what those had waiting is answered elsewhere."""
        self.ready_at[self.asked : count] = now + start_seconds
        self.backlog[count:] = 0
        self.asked = count

    def ready(self, now: int) -> int:
        """How many answer: the first so many."""
        return int(np.searchsorted(self.ready_at[: self.asked], now, "right"))

    def serve(self, now: int, arrivals: int, random: np.random.Generator) -> tuple[Floats, Floats, int]:
        """One second: for each ready pod how many were accepted and how long one of them waited; how many refused."""
        count = self.ready(now)
        if not count:
            return np.zeros(0), np.zeros(0), arrivals
        before = self.backlog[:count]
        sent = random.multinomial(arrivals, np.full(count, 1 / count))
        accepted = np.minimum(sent, np.maximum(0, self.limit + self.rate - before))
        load = before + accepted
        done = np.minimum(load, self.rate)
        share = np.minimum(accepted / self.rate, _MOST_LOAD)
        standing = (before + load - done) / 2 / self.rate  # the mean over the second
        queued = np.where(standing > 0, 0, 1 / (1 - share) / self.rate)  # where one waits at all, which `share` do
        waits = standing + queued * random.exponential(size=count) * (random.random(count) < share)
        self.backlog[:count] = load - done
        self.sums[:, :count] += done / self.rate, (standing + share * queued) * accepted, accepted
        return accepted, waits, int(arrivals - accepted.sum())

    def scrape(self, now: int) -> None:
        """What metrics-server and Prometheus see of this second."""
        self._scrapes = [*self._scrapes[1 - _QUEUE_SCRAPES :], (now, self.sums.copy())]

    def wanted(self, metric: str, target: int) -> int:
        """How many pods the autoscaler wants by this metric, from the newest figures."""
        scrapes = self._scrapes[-2:] if metric == "cpu" else self._scrapes
        newest, _ = scrapes[-1]
        values = []
        for pod in range(self.ready(newest)):
            seen = [(at, sums[:, pod]) for at, sums in scrapes if at >= self.ready_at[pod]]
            if len(seen) > 1:
                (began, first), (ended, last) = seen[0], seen[-1]
                work, waiting, answered = last - first
                values.append(int(1000 * (work / (ended - began) if metric == "cpu" else waiting / max(answered, 1))))
        silent = self.asked - len(values)
        if metric == "cpu":  # what has no CPU figure yet counts as not ready
            return hpa.wanted(self.asked, target, values, unready=silent)
        unready = min(silent, self.asked - self.ready(newest + _SCRAPE_AGE))
        return hpa.wanted(self.asked, target, values, unready, silent - unready)


def simulate(case: Case, reviews: Floats, rate: float, spec: dict[str, Any], seed: int = 1) -> Day:
    """A day of `reviews` a second against pods of `rate` reviews a second each."""
    random, scaler, day = np.random.default_rng(seed), hpa.Autoscaler(spec), Day(case)
    pods = Pods(max(scaler.maximum, case.fixed), rate, case.fixed or scaler.minimum)
    for now, arrivals in enumerate(random.poisson(reviews)):
        accepted, waits, refused = pods.serve(now, int(arrivals), random)
        np.add.at(day.counts, np.searchsorted(_BINS, waits), accepted)
        day.asked.append(pods.asked)
        day.ready.append(pods.ready(now))
        day.refused.append(refused)
        if now % _SCRAPE_SECONDS == 0:
            pods.scrape(now)
        if case.metrics and now % hpa.SYNC_SECONDS == _SCRAPE_AGE and now > 2 * _SCRAPE_SECONDS:
            recommended = max(pods.wanted(metric, target) for metric, target in case.metrics)
            pods.ask(now, scaler.step(now, pods.asked, recommended), case.start_seconds)
    return day


def cases(reviews: Floats, usual: float, rate: float, spec: dict[str, Any], start_seconds: int) -> list[Case]:
    """What ships, its parts alone, new machines for new pods, and pods that nobody scales."""
    found = targets(spec)
    cpu, queue, target = ("cpu", found["cpu"]), ("queue", found["queue"]), found["cpu"] / 1000

    def needed(peak: float) -> int:
        return int(np.ceil(peak / rate / target))

    return [
        Case("CPU (`base`)", (cpu,), 0, start_seconds),
        Case("queue time alone", (queue,), 0, start_seconds),
        Case("both (`overlays/monitoring`)", (cpu, queue), 0, start_seconds),
        Case("both, a machine for each new pod: 90 s", (cpu, queue), 0, 90),
        Case("fixed, for the usual peak", fixed=needed(usual)),
        Case("fixed, for the crowd", fixed=needed(reviews.max())),
    ]


def table(days: Sequence[Day], reviews: Floats) -> str:
    """A line a day."""
    lines = [
        [
            day.case.name,
            f"{min(day.asked)} to {max(day.asked)}",
            f"{sum(day.asked) / 3600:,.0f}",
            *(f"{day.wait_ms(percent):,.1f}" for percent in (50, 99, 99.9)),
            f"{sum(day.refused) / reviews.sum():.3%}",
            sum(count > 0 for count in day.refused),
        ]
        for day in days
    ]
    names = ["pods", "core hours", "queue p50 ms", "p99 ms", "p99.9 ms", "refused", "seconds with refusals"]
    return markdown(["scaled by", *names], lines)


def plot(days: Sequence[Day], reviews: Floats, rate: float, path: Path) -> None:
    """The day as it ships, and its crowd for all that are scaled."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (whole, crowd, refused) = pyplot.subplots(3, 1, figsize=(9, 10), layout="constrained")
    hours = np.arange(len(reviews)) / 3600
    whole.plot(hours, reviews, color="black", lw=1, label="asked for")
    whole.plot(
        hours, rate * np.array(days[2].ready), color="C2", label=f"what the ready pods can do: {days[2].case.name}"
    )
    whole.set(title="A day", xlabel="hour", ylabel="reviews/s")
    part = slice(_CROWD_AT - 120, _CROWD_AT + 600)
    seconds = np.arange(part.start, part.stop) - _CROWD_AT
    crowd.plot(seconds, reviews[part], color="black", lw=1, label="asked for")
    for index, day in enumerate(days[:4]):
        style = {"color": f"C{index}", "label": day.case.name}
        crowd.plot(seconds, rate * np.array(day.ready[part]), drawstyle="steps-post", **style)
        # Over 5 s, so that a line is seen.
        share = np.convolve(np.array(day.refused) / reviews, np.ones(5) / 5, "same")
        refused.plot(seconds, 100 * share[part], **style)
    crowd.set(title="The crowd: what the ready pods can do", xlabel="seconds since it began", ylabel="reviews/s")
    refused.set(title="The crowd: refused", xlabel="seconds since it began", ylabel="%")
    for axes in (whole, crowd, refused):
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend(loc="best", fontsize="small")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


@click.command(context_settings={"show_default": True})
@click.option("--rate", type=click.FloatRange(1), help="Reviews a second a core; without it as measured.", default=None)
@click.option("--peak", type=click.FloatRange(1), default=8000, help="Reviews a second at noon.")
@click.option("--crowd", type=click.FloatRange(1), default=3, help="By how much a crowd multiplies them for a while.")
@click.option("--start-seconds", type=click.IntRange(0), default=10, help="Until a new pod is ready.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False, exists=True), default=FOLDER)
def main(rate: float | None, peak: float, crowd: float, start_seconds: int, out: Path) -> None:
    """Prints the table, and writes it into OUT/README.md between its marks, and the plot into OUT/autoscaling.png."""
    rate = rate or capacity.rates().single
    spec, reviews = autoscaler_spec(), traffic(peak, crowd)
    chosen = cases(reviews, traffic(peak, 1).max(), rate, spec, start_seconds)
    days = [simulate(case, reviews, rate, spec) for case in chosen]
    found = f"{_about(rate, peak, crowd, start_seconds)}\n\n{table(days, reviews)}"
    click.echo(found)
    page = (out / "README.md").read_text()
    before, after = page.split(_MARKS[0])[0], page.split(_MARKS[1])[1]
    (out / "README.md").write_text(f"{before}{_MARKS[0]}\n{found}\n\n{_MARKS[1]}{after}")
    plot(days, reviews, rate, out / "autoscaling.png")


def _about(rate: float, peak: float, crowd: float, start_seconds: int) -> str:
    return textwrap.fill(
        f"{rate:,.0f} reviews/s a pod; {peak:,.0f} reviews/s at noon, {_NIGHT:.0%} of that at midnight; at "
        f"{_CROWD_AT // 3600}:00 a crowd that makes them {crowd:g} times as many within {_CROWD_RISE} s and stays "
        f"{_CROWD_HOLD // 60} minutes; a new pod is ready after {start_seconds} s:",
        120,
    )


if __name__ == "__main__":
    main()
