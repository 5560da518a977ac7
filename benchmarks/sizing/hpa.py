"""The arithmetic of Kubernetes' HorizontalPodAutoscaler (autoscaling/v2), as its controller does it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SYNC_SECONDS = 15  # between two looks, unless the controller is told otherwise; so is the tolerance
TOLERANCE = 0.1


def wanted(current: int, target: int, values: Sequence[int], unready: int = 0, missing: int = 0) -> int:
    """How many pods one metric asks for, where `current` are asked for now.

    `values` are those of the pods that report one, in whole thousandths like `target`; `unready` pods do not run yet,
    `missing` ones run and report nothing. Both are assumed to change nothing: idle when it goes up, and when it goes
    down the missing at the target, the unready not there.
    """
    if not values:
        return current
    ratio = sum(values) // len(values) / target
    if not missing and (not unready or ratio <= 1):
        return current if abs(1 - ratio) <= TOLERANCE else math.ceil(ratio * len(values))
    assumed = [*values, *[target if ratio < 1 else 0] * missing, *[0] * (unready if ratio > 1 else 0)]
    again = sum(assumed) // len(assumed) / target
    found = math.ceil(again * len(assumed))
    if abs(1 - again) <= TOLERANCE or (again - 1) * (ratio - 1) < 0 or (again - 1) * (found - current) < 0:
        return current
    return found


@dataclass(frozen=True)
class Policy:
    """At most so many pods, or so many percent, in any period."""

    kind: str  # Pods or Percent
    value: int
    period_seconds: int


@dataclass(frozen=True)
class Rules:
    """One direction's part of `behavior`; `select` picks among the policies' limits the one that allows Max or Min."""

    window_seconds: int
    policies: tuple[Policy, ...]
    select: str = "Max"

    @classmethod
    def read(cls, found: Mapping[str, Any], default: "Rules") -> "Rules":
        """Takes what the manifest says, and Kubernetes' defaults for the rest."""
        policies = tuple(Policy(one["type"], one["value"], one["periodSeconds"]) for one in found.get("policies", ()))
        return cls(
            found.get("stabilizationWindowSeconds", default.window_seconds),
            policies or default.policies,
            found.get("selectPolicy", default.select),
        )


UP = Rules(0, (Policy("Percent", 100, 15), Policy("Pods", 4, 15)))
DOWN = Rules(300, (Policy("Percent", 100, 15),))


class Autoscaler:
    """Remembers what was recommended and done, and says how many pods to ask for now. `spec` is that of a manifest."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self.minimum, self.maximum = spec.get("minReplicas", 1), spec["maxReplicas"]
        behavior = spec.get("behavior", {})
        self.up = Rules.read(behavior.get("scaleUp", {}), UP)
        self.down = Rules.read(behavior.get("scaleDown", {}), DOWN)
        self._recommended: list[tuple[float, int]] = []
        self._changed: list[tuple[float, int]] = []

    def step(self, now: float, current: int, recommended: int) -> int:
        """The pods to ask for, `now` in seconds, where `recommended` is the most that any metric asks for."""
        if not self.minimum <= current <= self.maximum:
            return self._change(now, current, min(max(current, self.minimum), self.maximum))
        if not self._recommended:
            self._recommended.append((now, current))
        lowest, highest = (
            choose([recommended, *(pods for at, pods in self._recommended if at > now - rules.window_seconds)])
            for choose, rules in ((min, self.up), (max, self.down))
        )
        self._recommended.append((now, recommended))
        longest = max(self.up.window_seconds, self.down.window_seconds)
        self._recommended = [(at, pods) for at, pods in self._recommended if at > now - longest]
        found = min(max(current, lowest), highest)
        if found > current:
            found = min(found, self.maximum, max(current, self._limit(now, current, self.up, 1)))
        elif found < current:
            found = max(found, self.minimum, min(current, self._limit(now, current, self.down, -1)))
        return self._change(now, current, found)

    def _limit(self, now: float, current: int, rules: Rules, sign: int) -> int:
        """How far the policies let it go, from where each one's period began."""
        if rules.select == "Disabled":
            return current
        limits = []
        for policy in rules.policies:
            start = current - sum(pods for at, pods in self._changed if at > now - policy.period_seconds)
            percent = sign * math.ceil(sign * start * (100 + sign * policy.value) / 100)  # away from where it is
            limits.append(start + sign * policy.value if policy.kind == "Pods" else percent)
        return max(limits) if (rules.select == "Max") == (sign > 0) else min(limits)

    def _change(self, now: float, current: int, found: int) -> int:
        if found != current:
            self._changed.append((now, found - current))
        longest = max(policy.period_seconds for rules in (self.up, self.down) for policy in rules.policies)
        self._changed = [(at, pods) for at, pods in self._changed if at > now - longest]
        return found
