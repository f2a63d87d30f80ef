"""A job tells its progress as a part of the whole, and ends when it is canceled."""

import pytest

from BrainIACLib.errors import Cancelled
from BrainIACLib.job import Job


def test_parts_of_parts_are_fractions_of_the_whole():
    told = []
    whole = Job(lambda step, fraction: told.append((step, fraction)))
    second_half = whole.part(0.5, 1.0, "scan 2 of 2")
    second_half.part(0.0, 0.5).report("brain extraction", 1.0)
    assert told == [("scan 2 of 2: brain extraction", pytest.approx(0.75))]


def test_a_cancelled_job_ends_at_its_next_report_in_every_part():
    stop = False
    part = Job(cancelled=lambda: stop).part(0.0, 0.5)
    part.report("reading", 0.0)
    stop = True
    with pytest.raises(Cancelled):
        part.report("reading", 0.5)
    with pytest.raises(Cancelled):
        part.check()
