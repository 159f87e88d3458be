"""When a phone drives, when it has parked, and what each number is for.

    UNKNOWN, PARKED -> DRIVING  moving at START_MPS over START_MS and START_METRES away: `park_end`, if it was parked,
                                at the last fix within PLACE_M of the place.
    DRIVING -> PARKED           `park_start`, dated back to the arrival: the last fix that moved as only a vehicle does.
                                Settled by people on foot (FOOT_TWICE_MS, FOOT_ONCE_MS), by standing for STAND_MS, or
                                by silence.
    any -> UNKNOWN              GAP_MS without a fix, unless the phone was parked: parked cars stay parked.

A drive counts only if it was a vehicle's: VEHICLE_MPS over half a minute, or the phone says so, and it does not speak
of bicycles more often than of vehicles. Activity recognition alone begins nothing and ends nothing: it is late and
often wrong. Whatever moves like a vehicle takes the evidence of feet back, so traffic lights and jams end nothing.

Sources: the definitions of stops and trips of trackintel (Martin et al. 2023); lags of activity recognition measured on
real phones. Thresholds were chosen on recorded and simulated drives; none knows a street, a city or a sampling rate.
"""

from typing import Final

DETECTOR: Final = "trips@3"

GAP_MS: Final = 600_000
"""After this long without a fix the track is broken."""
MEMORY_MS: Final = 72_000_000
"""After 20 h in silence even a parked device begins anew. Silent devices are forgotten after 24 h of log time, and no
row that detection uses is more than 2 h behind it: so it makes no difference when."""
MAX_ACCURACY_M: Final = 65.0
"""Fixes that are less certain decide nothing."""
MAX_MPS: Final = 36.0
"""130 km/h: a jump beyond it is no movement, unless MAX_JUMPS fixes in a row insist."""
MAX_JUMPS: Final = 3
STEP_MS: Final = 4_500
"""Fixes on the track lie at least this far apart: noise of a still phone at 1 Hz is no path."""

SPEED_MS: Final = 30_000
"""Speed is the net displacement over at least this long."""
START_MPS: Final = 15 / 3.6
START_MS: Final = 9_000
"""The start of a drive is seen on two fixes, this far apart,"""
START_METRES: Final = 130.0
"""and the phone is this far from where it was START_REACH_MS ago: jumps of noise come back."""
START_REACH_MS: Final = 55_000
VEHICLE_MPS: Final = 5.2
"""Nobody walks or runs so fast for half a minute."""
OWN_VEHICLE_MPS: Final = 6.0
"""Speed by the phone's own account that only a vehicle reaches."""

OWN_MPS: Final = 2.5
"""A phone that says it is faster than this is still in the vehicle,"""
NET_MPS: Final = 1.7
"""if half a minute's displacement agrees."""
BURST_MS: Final = 12_000
BURST_MPS: Final = 2.8
"""Without own speed: displacement over this long at this speed is a vehicle's."""
COARSE_MS: Final = 8_000
TOO_COARSE_MS: Final = 70_000
"""Between these a step is coarse: one of them alone is mostly noise, so two are looked at."""
OWN_LASTS_MS: Final = 20_000
"""A phone that tells its speed now and then is taken at its last word for this long."""
SLOW_MPS: Final = 8 / 3.6
RESUME_MPS: Final = 3.3
"""Half a minute at this speed is no walk: what was said of feet is taken back."""

HOLE_MS: Final = 45_000
"""From this long without a fix on, the vehicle may have arrived inside the gap:"""
ARRIVE_MS: Final = 15_000
"""then it did so this long after the gap began, and"""
ARRIVE_MPS: Final = 7.0
"""the time the way across it takes at this speed;"""
TOWN_MPS: Final = 5.0
"""Slower than this across the gap, and standing behind it, the vehicle arrived in it too."""
NEAR_M: Final = 150.0
"""its place is the last fix before the gap if the next is not further away, else the next."""
MOVED_M: Final = 80.0

FOOT_CONFIDENCE: Final = 50
VEHICLE_CONFIDENCE: Final = 60
FOOT_AFTER_MS: Final = 3_000
FOOT_TWICE_MS: Final = 40_000
"""Two words of feet settle a parking this long after the arrival,"""
FOOT_ONCE_MS: Final = 75_000
"""one word of feet this long after it was said."""
CREEP_MS: Final = 150_000
CREEP_M: Final = 60.0
"""Who first walks so long after the arrival and so far from it crept on in a jam: the arrival is FOOT_LAG_MS before."""
FOOT_LAG_MS: Final = 35_000
STAND_MS: Final = 300_000
"""Standing this long within STAND_M is parking, whoever sits in the car;"""
STAND_M: Final = 50.0
IDLE_MS: Final = 900_000
"""so is moving less than a vehicle does for this long."""
MUTE_IDLE_MS: Final = 240_000
"""for a phone that tells no activities, this long."""
RIDING_MS: Final = 120_000
"""But not within this long of the phone's word that it is in a vehicle."""
SILENT_MS: Final = 45_000
"""A phone that tells activities and falls silent sooner after its arrival may stand at a traffic light."""
NO_SPEED_FACTOR: Final = 0.55
"""Without own speed the last steps still hold some of the speed before the stop."""
REST_MS: Final = 7_000
"""From the last fix that moves until the car stands."""
WALKED_OFF_M: Final = 25.0
LINGER_SHARE: Final = 0.25
LINGER_MS: Final = 120_000
"""People say that they have parked when this share of the time until they walk off, so long at most, is over."""
PLACE_BEFORE_MS: Final = 8_000
PLACE_AFTER_MS: Final = 20_000
PLACE_M: Final = 50.0
LOST_M: Final = 100.0
"""A car whose phone was last seen within this of its place, and then not for WIDE_MS, left in the gap:"""
DEPART_MS: Final = 9_000
"""this long, and the way at ARRIVE_MPS, before it was seen again."""
SPREAD_M: Final = 40.0
"""The place is the median of the fixes this shortly before and after the arrival, within SPREAD_M of it."""

LEFT_M: Final = 800.0
"""Who goes this far from the middle of a search has given it up."""
ABOUT_M: Final = 400.0
"""What lies this near to the parking place at the end belongs to the search for that."""
GIVE_UP_MS: Final = 120_000
GIVE_UP_M: Final = 200.0
"""a search given up is told if it lasted this long, or was so much longer than the crow's way."""
PICK_UP_S: Final = 20.0
LONG_PICK_UP_S: Final = 120.0
"""Who went about, stood between these with nobody on foot and left has picked somebody up."""
BUSY_MS: Final = 3_600_000
"""Parkings of the last hour or so tell a van from a car."""

OUTCOMES: Final = ("parked", "gave_up", "picked_up", "unknown")
PARKED_OUTCOME: Final = 0
GAVE_UP_OUTCOME: Final = 1
PICKED_UP_OUTCOME: Final = 2
UNKNOWN_OUTCOME: Final = 3
QUALITIES: Final = ("high", "medium", "low")
HIGH: Final = 0
MEDIUM: Final = 1
LOW: Final = 2
SPARSE_MS: Final = 15_000
"""`high` needs most gaps of a drive to be shorter than this, none longer than WIDE_MS,"""
WIDE_MS: Final = 60_000
CERTAIN_M: Final = 25.0
"""and most fixes as certain as this."""

MIN_UPLOADS: Final = 5
CLOCK_MS: Final = 30_000
"""A clock is wrong if over MIN_UPLOADS uploads nothing ever arrived sooner than this after it was said to happen."""
