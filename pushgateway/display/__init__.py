"""What does a person see of the metrics of one group?

Pure functions from what is stored to values that a template writes out: they know no HTML. `quantities` are numbers
that can be read, `quantiles` what histograms let one estimate.
"""

from __future__ import annotations
