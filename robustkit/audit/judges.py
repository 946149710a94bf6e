"""The gates of an audit: judged at its end, or while it goes on if it has a budget."""

from torch import Tensor

from robustkit.audit import sequential
from robustkit.audit.gates import judge
from robustkit.audit.plan import Plan
from robustkit.audit.standing import Standing
from robustkit.audit.statistics import robust_count
from robustkit.records import GateRecord, ThreatRecord
from robustkit.report.numbers import percent


class Judges:
    """What the gates of a plan say.

    Under a budget each block of samples is followed by a look, and the audit ends when every
    threat's gate is decided. Then the interval is one that holds at all looks (`sequential`).
    """

    def __init__(self, plan: Plan, right: Tensor) -> None:
        """Judge `plan`; `right` `[N]` are the samples that are classified correctly."""
        self._plan, self._right = plan, right
        self.early = False

    def decided(self, standings: dict[str, Standing]) -> bool:
        """Whether every threat has a gate and each of them is decided."""
        plan = self._plan
        if plan.budget_seconds is None or set(standings) - set(plan.at_least):
            return False
        self.early = all(
            self._look(standing, plan.at_least[threat]) != "UNDECIDED"
            for threat, standing in standings.items()
        )
        return self.early

    def _look(self, standing: Standing, at_least: float) -> str:
        robust = int(standing.robust(self._right)[standing.counted()].sum())
        return sequential.decide(robust, standing.reached, at_least, mode=self._plan.gate)

    def gates(self, records: list[ThreatRecord]) -> list[GateRecord]:
        """The verdict of every gate."""
        wanted = [(record, self._plan.at_least.get(record.threat)) for record in records]
        return [self._gate(record, share) for record, share in wanted if share is not None]

    def _gate(self, record: ThreatRecord, at_least: float) -> GateRecord:
        mode = self._plan.gate
        if not self.early:
            return judge(record, at_least, mode)
        robust = robust_count(record)
        verdict = sequential.decide(robust, record.samples, at_least, mode=mode)
        if verdict == "PASS" and not record.trusted:
            verdict = "UNDECIDED"
        return GateRecord(
            threat=record.threat,
            mode=mode,
            at_least=at_least,
            robust_accuracy=record.robust_accuracy,
            interval=sequential.ConfidenceSequence().update(robust, record.samples),
            samples=record.samples,
            verdict=verdict,
            reason=f"decided after {record.samples} samples, looking after every block; "
            f"{percent(at_least)} was asked",
        )
