"""What does a person see of the metrics of one group, and of a push that was refused?

Pure functions from what is stored to frozen values that a template writes out; they know no HTML:

    families     values of a family, bounded         jobs         the card of a batch job
    bars         buckets as bars                     quantiles    estimates from histograms
    quantities   what a number measures              texts        cut, and with escapes
    curl         commands for a shell            advice       what mends a refusal
"""

from __future__ import annotations
