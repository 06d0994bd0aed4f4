"""The forecast of loss, by hand-worked examples."""

import msgspec

from vosship.events import Stream
from vosship.forecast import foresee
from vosship.plugin import StreamSize

HOUR = 3600.0
PARAMETERS = {"SERVER_CDR_FILE_WRITE_MAX": 10}


def hourly(count, size=1000):
    """Files of consecutive hours from epoch 0, the last one live."""
    return [
        StreamSize(Stream(f"/cdr/{n:02}.txt", f"{n:02}.txt", f"/cdr/{n:02}.txt", 1, n * HOUR), size, (n + 1) * HOUR, n == count - 1)
        for n in range(count)
    ]


def forecast(sizes, unread, *, rate=0.0, answering=True, now=None, parameters=PARAMETERS, deletions_seen=False):
    now = sizes[-1].stream.starts_at + 60 if now is None else now
    return foresee(
        sizes, unread, parameters=parameters, deletions_seen=deletions_seen, bytes_per_s=rate, answering=answering, now=now
    )


def test_the_oldest_of_a_full_directory_goes_with_the_next_file():
    """Ten of ten places taken: the oldest is deleted when the eleventh file begins, in an hour less a minute."""
    seen = forecast(hourly(10), {"/cdr/00.txt": 1000})
    assert (seen.next_file, seen.next_deletion_s, seen.seconds_to_loss) == ("/cdr/00.txt", HOUR - 60, HOUR - 60)


def test_free_places_put_it_off():
    """Four of ten places taken: six more files fit, the seventh deletes the oldest."""
    assert forecast(hourly(4), {"/cdr/00.txt": 1000}).next_deletion_s == 7 * HOUR - 60


def test_a_drain_that_is_quick_enough_is_no_loss():
    """Two unread files of 1,000 bytes at 10 bytes a second are read in 200 s, long before an hour has passed."""
    unread = {"/cdr/00.txt": 1000, "/cdr/01.txt": 1000}
    assert forecast(hourly(10), unread, rate=10.0).seconds_to_loss is None


def test_a_drain_that_is_too_slow_names_the_first_file_it_loses():
    """At 0.2 bytes a second the first 600 bytes take 3,000 s and are read, the next 1,000 take 5,000 s more and are not in time."""
    seen = forecast(hourly(10), {"/cdr/00.txt": 600, "/cdr/01.txt": 1000}, rate=0.2)
    assert seen.certain
    assert seen.seconds_to_loss == 2 * HOUR - 60


def test_an_output_that_does_not_answer_drains_nothing():
    """Whatever rate was measured before, a waiting output loses the oldest file when its turn comes."""
    seen = forecast(hourly(10), {"/cdr/00.txt": 600}, rate=1e6, answering=False)
    assert seen.seconds_to_loss == HOUR - 60
    assert not seen.certain


def test_nothing_unread_but_the_live_file_is_no_forecast():
    """The live file is not deleted."""
    assert forecast(hourly(10), {"/cdr/09.txt": 500}) is None


def test_the_limit_is_learnt_from_deletions():
    """Without the parameter a directory that has lost files is full; one that has not says nothing."""
    assert forecast(hourly(5), {"/cdr/00.txt": 1}, parameters={}) is None
    assert forecast(hourly(5), {"/cdr/00.txt": 1}, parameters={}, deletions_seen=True).next_deletion_s == HOUR - 60


def test_a_switch_that_has_stood_still_begins_with_its_next_file():
    """Months after the last file nothing has been deleted meanwhile: four of ten places are taken still."""
    assert forecast(hourly(4), {"/cdr/00.txt": 1000}, now=5000 * HOUR).next_deletion_s == 6 * HOUR


def test_what_is_kept_cannot_be_lost_but_takes_its_time():
    """The rescued oldest file is late and no loss; what is not rescued behind it waits until it is read."""
    sizes = hourly(10)
    sizes[0] = msgspec.structs.replace(sizes[0], kept=True)
    seen = forecast(sizes, {"/cdr/00.txt": 600}, answering=False)
    assert (seen.next_file, seen.seconds_to_late, seen.seconds_to_loss) == ("/cdr/00.txt", HOUR - 60, None)
    seen = forecast(sizes, {"/cdr/00.txt": 1000, "/cdr/01.txt": 1000}, rate=0.2)
    assert (seen.next_file, seen.seconds_to_late, seen.seconds_to_loss) == ("/cdr/00.txt", HOUR - 60, 2 * HOUR - 60)
    assert forecast(sizes, {"/cdr/00.txt": 10, "/cdr/01.txt": 1000}, rate=0.2).seconds_to_loss is None


def test_what_the_switch_has_deleted_is_not_deleted_again():
    """A rescued file whose own name is gone is next to nothing: the one behind it is."""
    sizes = hourly(10)
    sizes[0] = msgspec.structs.replace(sizes[0], kept=True, deleted=True)
    assert forecast(sizes, {"/cdr/00.txt": 600}, answering=False) is None
    seen = forecast(sizes, {"/cdr/00.txt": 1000, "/cdr/01.txt": 1000}, rate=0.2)
    assert (seen.next_file, seen.seconds_to_late) == ("/cdr/01.txt", 2 * HOUR - 60)
