"""Files and names in, things to audit out: models, pictures with labels, and what a file holds.

Nothing here runs code that came with a file. Bytes are sniffed, never the extension; pickles go
through the restricted loader only, and one that would call anything else is refused with a list of
what it would have called.
"""

from robustkit.loading.datasets import open_samples
from robustkit.loading.endpoint import Service
from robustkit.loading.inspection import Inspection, inspect_file
from robustkit.loading.models import load
from robustkit.loading.samples import Samples
from robustkit.loading.trust import Trust

__all__ = ["Inspection", "Samples", "Service", "Trust", "inspect_file", "load", "open_samples"]
