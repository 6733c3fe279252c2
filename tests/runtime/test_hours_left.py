"""The time that is left decides whether a user waits or goes to bed: it must follow what the jobs really took."""

from vqaflow.runtime.hours_left import HoursLeft, about, span

HOUR = 3600.0
RULES = {1: "train", 2: "train", 3: "score", 4: "score", 5: "pool"}


def run(**options) -> HoursLeft:
    planned = {1: 2 * HOUR, 2: 2 * HOUR, 3: HOUR, 4: HOUR}
    return HoursLeft(RULES, frozenset(planned), planned, began=0.0, **options)


def test_the_plan_alone_tells_on_its_own_card():
    """One card: six planned hours, and ten seconds for what the plan does not know."""
    assert run(certain=True).seconds_left(0.0) == 6 * HOUR + 10


def test_without_the_card_nothing_is_promised_before_a_job_has_ended():
    """The hours of a T4 would be wrong on a login node; its first training says how fast the cards are."""
    left = run()
    left.start([1], 0.0)
    assert left.seconds_left(60.0) is None
    assert "known after" in left.told(60.0)
    left.finish(1, HOUR)  # twice as fast as planned
    assert left.seconds_left(HOUR) == HOUR + 2 * HOUR / 2 + 10


def test_without_a_plan_trainings_are_not_taken_for_seconds():
    """While the plan is made, or if it cannot be made, nothing is said but what finished jobs show."""
    left = HoursLeft(RULES, frozenset({1, 2}), began=0.0)
    assert left.seconds_left(0.0) is None
    left.start([1], 0.0)
    left.finish(1, HOUR)
    assert left.seconds_left(HOUR) == HOUR + 3 * 10


def test_each_rule_is_corrected_by_its_own_jobs():
    """Scoring may be slower than planned though training was not."""
    left = run(certain=True)
    for job, took in ((1, 2 * HOUR), (3, 3 * HOUR)):
        left.start([job], 0.0)
        left.finish(job, took)
    assert left.seconds_left(0.0) == 2 * HOUR + 3 * HOUR + 10


def test_a_job_from_the_store_says_nothing_of_the_others():
    """One adapter in eight seconds from the store must not make the others look like seconds."""
    left = run(certain=True)
    left.start([3], 0.0)
    left.finish(3, 3.0)
    left.start([4], 0.0)
    left.finish(4, 2 * HOUR)
    left.rules = {**RULES, 6: "score"}
    left.planned[6] = HOUR
    assert left._expected(6) == 2 * HOUR


def test_a_running_job_counts_down_and_never_to_nothing():
    left = run(certain=True)
    left.start([1], 0.0)
    assert left.seconds_left(HOUR) == 5 * HOUR + 10
    assert left._rest(1, 10 * HOUR) == HOUR


def test_jobs_at_once_share_the_time():
    """Two cards halve it; jobs that wait for the only card do not."""
    for cards, hours in ((2, 3), (0, 3), (1, 6)):
        left = run(certain=True, cards=cards)
        left.start([1, 2], 0.0)
        assert round(left.seconds_left(0.0) / HOUR, 1) == hours


def test_a_failed_job_counts_again():
    left = run(certain=True)
    left.start([1], 0.0)
    left.fail(1)
    assert left.seconds_left(HOUR) == 6 * HOUR + 10


def test_the_end_tells_the_time_that_passed():
    left = HoursLeft({1: "pool"}, began=0.0)
    left.start([1], 0.0)
    left.finish(1, 90.0)
    assert left.told(90.0) == "in 2 min" and left.short(90.0) == "run 1/1, less than a minute left"


def test_times_are_rough():
    assert [span(s) for s in (8, 90, 3500, 9000)] == ["8 s", "2 min", "1.0 h", "2.5 h"]
    assert about(30) == "less than a minute"
