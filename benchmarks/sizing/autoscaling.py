"""`python -m benchmarks.sizing.autoscaling`: simulates a day of traffic against the autoscaler of deploy/kubernetes.

A step is one second. Arrivals are Poisson and spread evenly over the ready pods. Each pod is a queue with one server of
the measured rate: within a second its waits follow M/M/1; unfinished reviews stay in its queue, and a review that would
exceed OVATION_MAX_WAITING_TEXTS is refused. `benchmarks.sizing.hpa` decides as the autoscaler does, by the manifests.
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
_NIGHT = 0.2  # traffic at midnight as a share of the usual peak at noon
_CROWD_AT, _CROWD_RISE, _CROWD_HOLD, _CROWD_FALL = 9 * 3600, 60, 1200, 1800  # seconds
_SCRAPE_SECONDS = 15  # scrape interval of metrics-server and of Prometheus
_SCRAPE_AGE = 10  # seconds from the last scrape to the autoscaler's decision
_QUEUE_SCRAPES = 4  # scrapes within the minute of `rate(...[1m])`
_MAX_UTILIZATION = 0.98  # closer to 1, M/M/1 does not reach its steady state within a second
_MARKS = ("<!-- python -m benchmarks.sizing.autoscaling -->", "<!-- end -->")
_BINS = np.geomspace(1e-5, 10, 2401)  # edges of the histogram of waits, seconds


@dataclass(frozen=True)
class Case:
    """One way to scale, a row of the table: by `metrics`, or with a `fixed` number of pods."""

    name: str
    metrics: tuple[tuple[str, int], ...] = ()  # (name, target in thousandths)
    fixed: int = 0
    start_seconds: int = 0  # from a pod's creation until it is ready


@dataclass
class Day:
    """The simulated day of one case; each list has one value a second."""

    case: Case
    replicas: list[int] = field(default_factory=list)  # pods that exist, ready or starting
    ready: list[int] = field(default_factory=list)  # pods
    refused: list[int] = field(default_factory=list)  # reviews
    counts: Floats = field(default_factory=lambda: np.zeros(len(_BINS) + 1))  # [bin] answered reviews by their wait

    def wait_ms(self, percent: float) -> float:
        """The percentile `percent` of the waits in the queue, in ms, over the answered reviews."""
        cumulative = np.cumsum(self.counts) / self.counts.sum()
        return float(_BINS[min(int(np.searchsorted(cumulative, percent / 100)), len(_BINS) - 1)] * 1e3)


def traffic(peak: float, crowd: float, seconds: int = _DAY) -> Floats:
    """Reviews a second [second]: a cosine with its `peak` at noon, multiplied by up to `crowd` in the morning."""
    time = np.arange(seconds, dtype=np.float64)
    usual = peak * (_NIGHT + (1 - _NIGHT) * (1 - np.cos(2 * np.pi * time / _DAY)) / 2)
    edges = np.cumsum([_CROWD_AT, _CROWD_RISE, _CROWD_HOLD, _CROWD_FALL])
    reviews: Floats = usual * np.interp(time, edges, [1, crowd, crowd, 1])
    return reviews


def autoscaler_spec() -> dict[str, Any]:
    """The `spec` of the HorizontalPodAutoscaler of overlays/monitoring: the base's, patched by the overlay."""
    documents = [*yaml.safe_load_all((FOLDER / "base/ovation.yaml").read_text())]
    [base] = [document for document in documents if document["kind"] == "HorizontalPodAutoscaler"]
    patch = yaml.safe_load((FOLDER / "overlays/monitoring/autoscaler.yaml").read_text())
    return {**base["spec"], **patch["spec"]}


def targets(spec: dict[str, Any]) -> dict[str, int]:
    """The targets in thousandths: of "cpu" (utilization) and of "queue" (seconds of waiting)."""
    thousandths = {}
    for metric in spec["metrics"]:
        if metric["type"] == "Resource":
            thousandths["cpu"] = metric["resource"]["target"]["averageUtilization"] * 10
        else:
            thousandths["queue"] = int(metric["pods"]["target"]["averageValue"].removesuffix("m"))
    return thousandths


class Pods:
    """The state of up to `most` pods; arrays are [most], oldest pod first, and the first `replicas` pods exist."""

    def __init__(self, most: int, rate: float, replicas: int) -> None:
        self.rate, self.replicas = rate, replicas
        self.limit = Settings.model_fields["max_waiting_texts"].default
        self.ready_at = np.zeros(most)
        self.backlog = np.zeros(most)  # reviews in the queue
        self.sums = np.zeros((3, most))  # counters: seconds of work, seconds of waiting, answered reviews
        self._scrapes: list[tuple[int, Floats]] = []  # (second, sums)

    def scale(self, now: int, replicas: int, start_seconds: int) -> None:
        """Creates pods, or removes the youngest; a removed pod still answers its queue, outside the simulation."""
        self.ready_at[self.replicas : replicas] = now + start_seconds
        self.backlog[replicas:] = 0
        self.replicas = replicas

    def ready(self, now: int) -> int:
        """The number of ready pods, which are the oldest."""
        return int(np.searchsorted(self.ready_at[: self.replicas], now, "right"))

    def serve(self, now: int, arrivals: int, random: np.random.Generator) -> tuple[Floats, Floats, int]:
        """One second: reviews accepted [ready], seconds that one of them waited [ready], and the number refused."""
        count = self.ready(now)
        if not count:
            return np.zeros(0), np.zeros(0), arrivals
        before = self.backlog[:count]
        sent = random.multinomial(arrivals, np.full(count, 1 / count))
        accepted = np.minimum(sent, np.maximum(0, self.limit + self.rate - before))
        load = before + accepted
        done = np.minimum(load, self.rate)
        utilization = np.minimum(accepted / self.rate, _MAX_UTILIZATION)
        backlog_wait = (before + load - done) / 2 / self.rate  # the mean over the second
        # M/M/1, only without a backlog: a share of `utilization` waits, exponentially distributed with this mean.
        queue_wait = np.where(backlog_wait > 0, 0, 1 / (1 - utilization) / self.rate)
        waits = backlog_wait + queue_wait * random.exponential(size=count) * (random.random(count) < utilization)
        self.backlog[:count] = load - done
        self.sums[:, :count] += done / self.rate, (backlog_wait + utilization * queue_wait) * accepted, accepted
        return accepted, waits, int(arrivals - accepted.sum())

    def scrape(self, now: int) -> None:
        """Records the counters as metrics-server and Prometheus read them at this second."""
        self._scrapes = [*self._scrapes[1 - _QUEUE_SCRAPES :], (now, self.sums.copy())]

    def desired(self, metric: str, target: int) -> int:
        """The number of pods that `metric` ("cpu" or "queue") calls for, by the last scrapes."""
        scrapes = self._scrapes[-2:] if metric == "cpu" else self._scrapes
        newest, _ = scrapes[-1]
        values = []
        for pod in range(self.ready(newest)):
            samples = [(at, sums[:, pod]) for at, sums in scrapes if at >= self.ready_at[pod]]
            if len(samples) > 1:
                (began, first), (ended, last) = samples[0], samples[-1]
                work, waiting, answered = last - first
                values.append(int(1000 * (work / (ended - began) if metric == "cpu" else waiting / max(answered, 1))))
        without_value = self.replicas - len(values)
        if metric == "cpu":  # the controller counts a pod without a CPU figure as not ready
            return hpa.desired(self.replicas, target, values, unready=without_value)
        unready = min(without_value, self.replicas - self.ready(newest + _SCRAPE_AGE))
        return hpa.desired(self.replicas, target, values, unready, without_value - unready)


def simulate(case: Case, reviews: Floats, rate: float, spec: dict[str, Any], seed: int = 1) -> Day:
    """Simulates `case` under `reviews` a second [second], with pods that each answer `rate` reviews a second."""
    random, scaler, day = np.random.default_rng(seed), hpa.Autoscaler(spec), Day(case)
    pods = Pods(max(scaler.maximum, case.fixed), rate, case.fixed or scaler.minimum)
    for now, arrivals in enumerate(random.poisson(reviews)):
        accepted, waits, refused = pods.serve(now, int(arrivals), random)
        np.add.at(day.counts, np.searchsorted(_BINS, waits), accepted)
        day.replicas.append(pods.replicas)
        day.ready.append(pods.ready(now))
        day.refused.append(refused)
        if now % _SCRAPE_SECONDS == 0:
            pods.scrape(now)
        if case.metrics and now % hpa.SYNC_SECONDS == _SCRAPE_AGE and now > 2 * _SCRAPE_SECONDS:
            recommended = max(pods.desired(metric, target) for metric, target in case.metrics)
            pods.scale(now, scaler.step(now, pods.replicas, recommended), case.start_seconds)
    return day


def cases(reviews: Floats, usual: float, rate: float, spec: dict[str, Any], start_seconds: int) -> list[Case]:
    """The rows of the table: each metric alone, both as shipped, both with slow starts, and fixed numbers of pods."""
    thousandths = targets(spec)
    cpu, queue, share = ("cpu", thousandths["cpu"]), ("queue", thousandths["queue"]), thousandths["cpu"] / 1000

    def needed(peak: float) -> int:
        return int(np.ceil(peak / rate / share))  # busy for the target share of the time

    return [
        Case("CPU (`base`)", (cpu,), 0, start_seconds),
        Case("queue time alone", (queue,), 0, start_seconds),
        Case("both (`overlays/monitoring`)", (cpu, queue), 0, start_seconds),
        Case("both, a machine for each new pod: 90 s", (cpu, queue), 0, 90),
        Case("fixed, for the usual peak", fixed=needed(usual)),
        Case("fixed, for the crowd", fixed=needed(reviews.max())),
    ]


def table(days: Sequence[Day], reviews: Floats) -> str:
    """Markdown, a row for each of `days`."""
    lines = [
        [
            day.case.name,
            f"{min(day.replicas)} to {max(day.replicas)}",
            f"{sum(day.replicas) / 3600:,.0f}",
            *(f"{day.wait_ms(percent):,.1f}" for percent in (50, 99, 99.9)),
            f"{sum(day.refused) / reviews.sum():.3%}",
            sum(count > 0 for count in day.refused),
        ]
        for day in days
    ]
    names = ["pods", "core hours", "queue p50 ms", "p99 ms", "p99.9 ms", "refused", "seconds with refusals"]
    return markdown(["scaled by", *names], lines)


def plot(days: Sequence[Day], reviews: Floats, rate: float, path: Path) -> None:
    """Draws the whole day as shipped, and the minutes of the crowd for every case with an autoscaler."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (whole, crowd, refused) = pyplot.subplots(3, 1, figsize=(9, 10), layout="constrained")
    hours = np.arange(len(reviews)) / 3600
    whole.plot(hours, reviews, color="black", lw=1, label="offered")
    whole.plot(
        hours, rate * np.array(days[2].ready), color="C2", label=f"capacity of the ready pods: {days[2].case.name}"
    )
    whole.set(title="A day", xlabel="hour", ylabel="reviews/s")
    part = slice(_CROWD_AT - 120, _CROWD_AT + 600)
    seconds = np.arange(part.start, part.stop) - _CROWD_AT
    crowd.plot(seconds, reviews[part], color="black", lw=1, label="offered")
    for index, day in enumerate(days[:4]):
        style = {"color": f"C{index}", "label": day.case.name}
        crowd.plot(seconds, rate * np.array(day.ready[part]), drawstyle="steps-post", **style)
        # Averaged over 5 s: single seconds with refusals would not be visible as a line.
        share = np.convolve(np.array(day.refused) / reviews, np.ones(5) / 5, "same")
        refused.plot(seconds, 100 * share[part], **style)
    crowd.set(title="The crowd: capacity of the ready pods", xlabel="seconds since it began", ylabel="reviews/s")
    refused.set(title="The crowd: refused reviews", xlabel="seconds since it began", ylabel="%")
    for axes in (whole, crowd, refused):
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend(loc="best", fontsize="small")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


@click.command(context_settings={"show_default": True})
@click.option("--rate", type=click.FloatRange(1), help="Reviews a second per pod; measured by default.", default=None)
@click.option("--peak", type=click.FloatRange(1), default=3000, help="Reviews a second at noon.")
@click.option("--crowd", type=click.FloatRange(1), default=3, help="Factor on the traffic while the crowd lasts.")
@click.option("--start-seconds", type=click.IntRange(0), default=10, help="From a pod's creation until it is ready.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False, exists=True), default=FOLDER)
def main(rate: float | None, peak: float, crowd: float, start_seconds: int, out: Path) -> None:
    """Prints the table, writes it between its marks in OUT/README.md, and the plot to OUT/autoscaling.png."""
    rate = rate or capacity.rates().single
    spec, reviews = autoscaler_spec(), traffic(peak, crowd)
    simulated = cases(reviews, traffic(peak, 1).max(), rate, spec, start_seconds)
    days = [simulate(case, reviews, rate, spec) for case in simulated]
    section = f"{_about(rate, peak, crowd, start_seconds)}\n\n{table(days, reviews)}"
    click.echo(section)
    page = (out / "README.md").read_text()
    before, after = page.split(_MARKS[0])[0], page.split(_MARKS[1])[1]
    (out / "README.md").write_text(f"{before}{_MARKS[0]}\n{section}\n\n{_MARKS[1]}{after}")
    plot(days, reviews, rate, out / "autoscaling.png")


def _about(rate: float, peak: float, crowd: float, start_seconds: int) -> str:
    return textwrap.fill(
        f"{rate:,.0f} reviews/s a pod; {peak:,.0f} reviews/s at noon, {_NIGHT:.0%} of that at midnight; at "
        f"{_CROWD_AT // 3600}:00 a crowd multiplies the traffic by {crowd:g} within {_CROWD_RISE} s and stays "
        f"{_CROWD_HOLD // 60} minutes; a new pod is ready after {start_seconds} s:",
        120,
    )


if __name__ == "__main__":
    main()
