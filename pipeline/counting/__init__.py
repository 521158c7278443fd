"""From presence to passages: scores in, a daily count with an honest interval out.

A frame classifier measures *presence*; a count is the number of *passages*. This package gets from
one to the other. It is pure: standard library and numpy, no file access, no clock, no random state.

    from pipeline.counting import Classifier, ZoneScores, count_day

    zones = [ZoneScores("exit", "out", at_s, p_truck)]
    day = count_day(zones, covered, scheduled, hours, classifier)
    day.movement("out").truck_count, day.movement("out").lo, day.movement("out").hi
"""

from pipeline.counting.audit import AuditWindows, audited, debias
from pipeline.counting.day import count_day
from pipeline.counting.evidence import emq_prevalence
from pipeline.counting.profile import learn_profile
from pipeline.counting.records import (
    Calibrated,
    Classifier,
    CountParams,
    DayCount,
    Dwell,
    HourCount,
    MovementCount,
    Passage,
    PastHour,
    Profile,
    ZoneCount,
    ZoneScores,
)
from pipeline.counting.zone import learn_dwell

__all__ = [
    "AuditWindows",
    "Calibrated",
    "Classifier",
    "CountParams",
    "DayCount",
    "Dwell",
    "HourCount",
    "MovementCount",
    "Passage",
    "PastHour",
    "Profile",
    "ZoneCount",
    "ZoneScores",
    "audited",
    "count_day",
    "debias",
    "emq_prevalence",
    "learn_dwell",
    "learn_profile",
]
