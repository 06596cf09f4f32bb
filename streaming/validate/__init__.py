"""Checks every reading against its tag and the tag's past, as array operations; pure, time comes as an argument.

| what is found | what becomes of the reading |
|---|---|
| `unknown_tag`: no tag of this connection; `no_time`: source time before the year 1 | rejected, whole |
| `future`: source time beyond platform time + tolerance | rejected, whole; episode |
| `sentinel`, `not_finite`: no value | stored as BAD, value NaN; episode |
| `physical`, `range`: no value of this quantity, of this instrument | stored as BAD; episode |
| `duplicate`: as one of the tag's last readings | dropped, counted |
| `late`: received long after its source time | stored, counted; episode from a day on |
| `spike`, `rate_of_change`, `stuck`, `z_score`; of a connection `clock_skew`, `duplicates` | stored as it is; episode |

The raw status is kept whatever is found. Each check's definition stands at the head of its module. Readings from a
source's history (`Flag.HISTORICAL`), and those that are not newer than all before them, make no episode.
"""

from streaming.validate.limits import physical_limits
from streaming.validate.statefile import StateFile
from streaming.validate.thresholds import Thresholds
from streaming.validate.validator import Checked, Share, State, Validator

__all__ = ["Checked", "Share", "State", "StateFile", "Thresholds", "Validator", "physical_limits"]
