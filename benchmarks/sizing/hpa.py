"""The arithmetic of Kubernetes' HorizontalPodAutoscaler (autoscaling/v2), after its pkg/controller/podautoscaler."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SYNC_SECONDS = 15  # between two decisions; this and the tolerance are the controller's defaults
TOLERANCE = 0.1


def desired(current: int, target: int, values: Sequence[int], unready: int = 0, missing: int = 0) -> int:
    """The number of pods that one metric calls for, where there are `current` pods.

    `values` hold the metric of each pod that reports it, in whole thousandths like `target`. `unready` pods have not
    started; `missing` pods run but report no value. When scaling up, both are assumed to be idle (0). When scaling
    down, missing pods are assumed to be at the target, and unready pods are left out of the mean.
    """
    if not values:
        return current
    ratio = sum(values) // len(values) / target
    if not missing and (not unready or ratio <= 1):
        return current if abs(1 - ratio) <= TOLERANCE else math.ceil(ratio * len(values))
    assumed = [*values, *[target if ratio < 1 else 0] * missing, *[0] * (unready if ratio > 1 else 0)]
    new_ratio = sum(assumed) // len(assumed) / target
    pods = math.ceil(new_ratio * len(assumed))
    if abs(1 - new_ratio) <= TOLERANCE or (new_ratio - 1) * (ratio - 1) < 0 or (new_ratio - 1) * (pods - current) < 0:
        return current
    return pods


@dataclass(frozen=True)
class Policy:
    """Limits the change within any period of `period_seconds` to `value` pods or percent."""

    kind: str  # Pods or Percent
    value: int
    period_seconds: int


@dataclass(frozen=True)
class Rules:
    """`scaleUp` or `scaleDown` of a manifest's `behavior`."""

    window_seconds: int  # of stabilization
    policies: tuple[Policy, ...]
    select: str = "Max"  # the policy that applies: of the largest change (Max), of the smallest (Min), or Disabled

    @classmethod
    def read(cls, rules: Mapping[str, Any], default: "Rules") -> "Rules":
        """The `rules` of a manifest; a field that is absent is taken from `default`."""
        policies = tuple(Policy(one["type"], one["value"], one["periodSeconds"]) for one in rules.get("policies", ()))
        return cls(
            rules.get("stabilizationWindowSeconds", default.window_seconds),
            policies or default.policies,
            rules.get("selectPolicy", default.select),
        )


UP = Rules(0, (Policy("Percent", 100, 15), Policy("Pods", 4, 15)))
DOWN = Rules(300, (Policy("Percent", 100, 15),))


class Autoscaler:
    """Decides the number of pods from recommendations over time. `spec` is the `spec` of a manifest."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self.minimum, self.maximum = spec.get("minReplicas", 1), spec["maxReplicas"]
        behavior = spec.get("behavior", {})
        self.up = Rules.read(behavior.get("scaleUp", {}), UP)
        self.down = Rules.read(behavior.get("scaleDown", {}), DOWN)
        self._recommended: list[tuple[float, int]] = []  # (second, pods)
        self._changed: list[tuple[float, int]] = []  # (second, pods added or removed)

    def step(self, now: float, current: int, recommended: int) -> int:
        """The new number of pods at second `now`; `recommended` is the largest number that any metric calls for."""
        if not self.minimum <= current <= self.maximum:
            return self._change(now, current, min(max(current, self.minimum), self.maximum))
        if not self._recommended:
            self._recommended.append((now, current))
        # Stabilization: up to the lowest, or down to the highest, recommendation of the direction's window.
        lowest, highest = (
            choose([recommended, *(pods for at, pods in self._recommended if at > now - rules.window_seconds)])
            for choose, rules in ((min, self.up), (max, self.down))
        )
        self._recommended.append((now, recommended))
        longest = max(self.up.window_seconds, self.down.window_seconds)
        self._recommended = [(at, pods) for at, pods in self._recommended if at > now - longest]
        pods = min(max(current, lowest), highest)
        if pods > current:
            pods = min(pods, self.maximum, max(current, self._limit(now, current, self.up, 1)))
        elif pods < current:
            pods = max(pods, self.minimum, min(current, self._limit(now, current, self.down, -1)))
        return self._change(now, current, pods)

    def _limit(self, now: float, current: int, rules: Rules, sign: int) -> int:
        """The furthest number of pods that the policies allow, upwards (`sign` 1) or downwards (-1)."""
        if rules.select == "Disabled":
            return current
        limits = []
        for policy in rules.policies:
            start = current - sum(pods for at, pods in self._changed if at > now - policy.period_seconds)
            percent = sign * math.ceil(sign * start * (100 + sign * policy.value) / 100)  # rounded away from `start`
            limits.append(start + sign * policy.value if policy.kind == "Pods" else percent)
        return max(limits) if (rules.select == "Max") == (sign > 0) else min(limits)

    def _change(self, now: float, current: int, pods: int) -> int:
        if pods != current:
            self._changed.append((now, pods - current))
        longest = max(policy.period_seconds for rules in (self.up, self.down) for policy in rules.policies)
        self._changed = [(at, change) for at, change in self._changed if at > now - longest]
        return pods
