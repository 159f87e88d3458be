"""Geofence decision: ENTER, EXIT, DWELL and CROSS of fences from noisy fixes, in two regimes. Detector geofence@1.

Definition. A device is inside a fence, outside it, or UNKNOWN. Per fix, `sigma` is the standard deviation per axis, `s`
the signed distance to the boundary in metres (negative inside), and P_in = Phi(-s / sigma) the probability of being
inside; margins below are in sigmas.

Transitions
- UNKNOWN -> inside at the first accepted fix that lies inside: ENTER there. Otherwise outside, silently.
- outside -> inside: ENTER when a fix inside decides. A moving device: one fix MOVING_SIDE_SIGMAS deep. A still one:
  fixes ENTER_SIGMAS deep, unbroken, spanning ENTER_MS.
- inside -> outside: EXIT likewise, a still device by EXIT_SIGMAS and EXIT_MS. A decision may come late:
  the event's time and place are where the straight line between the last fix on the old side and the first on the new
  one cuts the boundary (for a hole or a bay: the cut next to the inside), at every gap that keeps the state; else that
  first fix. It never lies before the version's valid_from.
- inside for the fence's dwell_s: DWELL once a visit, timed ENTER + dwell_s, with the first fix that proves it, or with
  the exit that does. dwell_s is that of the version in force when the ENTER was decided.
- a step between two fixes outside that passes through: CROSS at the middle of its longest piece inside, moving devices
  only, if that middle is CROSS_SIGMAS deep and the step took CROSS_MS at most.
- silence over GAP_MS: UNKNOWN, and EXIT_INFERRED for each fence inside, timed at the last evidence of being inside (the
  last fix, or the cut if that fix lay outside already); confidence one half. The device keeps nothing, so
  one that has fallen silent may be forgotten without changing anything.
- a new version of a fence keeps the side and emits nothing; a fence that is deleted, or was between two fixes, is
  forgotten silently. Each event names the version in force at its time.

Why still devices are judged so differently: real noise is correlated over minutes, so a phone at rest 5 m inside makes
long excursions that no small number of fixes tells from leaving. Far excursions and motion do. How large its excursions
are is learned from its own long stays, since stated accuracy is often too good.
"""

from typing import Final

DETECTOR: Final = "geofence@1"

KINDS: Final = ("enter", "dwell", "cross", "exit", "exit_inferred")
"""Kind by code: the position in this tuple; also their order at one instant."""
ENTER: Final = 0
DWELL: Final = 1
CROSS: Final = 2
EXIT: Final = 3
EXIT_INFERRED: Final = 4

VERDICTS: Final = ("accepted", "inaccurate", "repeated", "implausible")
"""What the gate says of a fix, by code."""
ACCEPTED: Final = 0
INACCURATE: Final = 1
REPEATED: Final = 2
IMPLAUSIBLE: Final = 3

MAX_ACCURACY_M: Final = 65.0
"""Metres, 68 % radius. Worse fixes decide nothing: cell-tower and first-fix places."""
UNKNOWN_ACCURACY_M: Final = 20.0
"""Metres, for a fix that states none: the pessimistic side of a phone outdoors."""
MIN_ACCURACY_M: Final = 5.0
"""Metres. No phone is better in a street, whatever it says."""
SIGMAS_PER_ACCURACY: Final = 1.515
"""Radius of 68 % of a circular normal distribution in standard deviations per axis: sqrt(-2 ln .3173)."""
MAX_SPEED_MPS: Final = 130 / 3.6
"""m/s from the last accepted fix: faster is a jump of the receiver, not a car in town."""
GAP_MS: Final = 600_000
"""ms without an accepted fix after which nothing is known: a car may have come and gone."""

MOVING_SIGMAS: Final = 8.0
"""Sigmas of displacement that make a device moving. Noise alone must not: at 7, noise that changes within 10 s flapped
13 times in 1,000 h at a boundary, at 8 never."""
MOVING_MS: Final = 75_000
"""ms over which it is looked for: long enough that a pedestrian with an accuracy of 15 m moves; 60 s lose short visits
(simulated city: F1 -.001), 90 s gain as little."""
MOVING_SIDE_SIGMAS: Final = 0.2
"""Sigmas beyond the boundary at which one fix of a moving device decides (P >= .58): 0 flickers along a boundary that
runs beside the street, .5 loses visits."""
ENTER_SIGMAS: Final = 1.28
"""Sigmas inside for a still device (P_in >= .90): a phone beside a fence must not be caught by it."""
ENTER_MS: Final = 10_000
"""ms that such fixes must span: two fixes at least, more than a glitch."""
EXIT_SIGMAS: Final = 4.0
"""Sigmas outside for a still device. At 3.5 a stay under noise correlated over 300 s flapped 2 to 4 times in 1,000 h,
at 4 less than once; waiting costs little: whoever really leaves soon moves, and the event is timed at the cut."""
EXIT_MS: Final = 30_000
"""ms that such fixes must span, unbroken: longer than a lone reflection."""

TRAIL_MS: Final = 7_500
"""ms at least between places kept of a device's trail: every second fix of a phone that sends one each 5 s."""
STILL_SIGMAS: Final = 12.0
"""Sigmas (as stated) from the mean place of a stay that end it: 6 for a phone MAX_NOISE times as noisy as it says."""
STILL_MS: Final = 600_000
"""ms of a stay before its scatter says how noisy the phone is; nobody strolls that long within so small a circle."""
MAX_NOISE: Final = 2.0
"""Times the stated sigma at most: beyond it the scatter is more likely motion."""

CROSS_SIGMAS: Final = 1.0
"""Sigmas from the boundary to the middle of the piece inside (P >= .84); so the piece is 2 sigma long at least. The
streets of 28 m, 14 m deep, stay within reach up to an accuracy of 20 m."""
CROSS_MS: Final = 120_000
"""ms of the step: over longer ones the straight line says little about the streets taken."""
CROSS_SPAN: Final = 1_000_000
"""Microdegrees of longitude that a step may span: wider ones touch the antimeridian or a pole."""
