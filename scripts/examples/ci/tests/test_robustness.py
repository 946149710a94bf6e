"""What must hold before the model ships."""

import pytest

from robustkit.testing import RobustAudit


@pytest.mark.robust(threat="linf:0.1")
def test_linf(robust_audit: RobustAudit) -> None:
    """Hard to fool, no worse than before, in every class, and a number to rely on."""
    robust_audit.assert_robust(at_least=0.60)
    robust_audit.assert_no_regression("baselines/linf.json", max_drop=0.01)
    robust_audit.assert_per_class(at_least=0.30)
    robust_audit.assert_trusted()
