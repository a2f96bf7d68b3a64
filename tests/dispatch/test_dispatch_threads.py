"""The threads of sync handlers: bounded, reused, and never in the way of an exit."""

import subprocess
import sys
import threading

import pytest

from receiver.dispatch.threads import HandlerThreads


def test_results_and_errors_come_back() -> None:
    threads = HandlerThreads(2)
    assert threads.submit(divmod, 7, 2).result(5) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        threads.submit(divmod, 7, 0).result(5)
    with pytest.raises(SystemExit):
        threads.submit(sys.exit, 3).result(5)
    assert threads.submit(int, "5", base=8).result(5) == 5
    threads.shutdown()


def test_no_more_run_at_a_time_than_the_limit_and_all_run() -> None:
    threads, lock = HandlerThreads(3), threading.Lock()
    full, running, most = threading.Barrier(3), 0, 0

    def work(number: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        full.wait(5)  # nobody leaves before three are in
        with lock:
            running -= 1
        return number

    futures = [threads.submit(work, number) for number in range(12)]
    assert [each.result(5) for each in futures] == list(range(12))
    assert most == 3
    threads.shutdown()


def test_an_idle_thread_is_used_again() -> None:
    threads = HandlerThreads(8)
    names = set()
    for _ in range(50):
        names.add(threads.submit(lambda: threading.current_thread().name).result(5))
    assert len(names) <= 2, "a thread may not have come back yet when the next call is queued"
    threads.shutdown()


def test_what_is_queued_can_be_cancelled_what_runs_can_not() -> None:
    threads, begun, release = HandlerThreads(1), threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        release.wait(5)

    running, queued = threads.submit(hang), threads.submit(hang)
    assert begun.wait(5)
    assert (running.cancel(), queued.cancel()) == (False, True)
    other = threads.submit(hang)
    threads.shutdown(wait=False, cancel_futures=True)
    assert other.cancelled()
    release.set()
    running.result(5)
    threads.shutdown()
    with pytest.raises(RuntimeError, match="shut down"):
        threads.submit(hang)


def test_abandoned_threads_are_replaced_up_to_a_bound() -> None:
    """With 1 thread: 3 are replaced, the 4th one is not, and whoever comes back works again."""
    threads, release, begun = HandlerThreads(1), threading.Event(), threading.Semaphore(0)

    def hang() -> None:
        begun.release()
        assert release.wait(20)

    hanging = []
    for _ in range(3):
        hanging.append(threads.submit(hang))
        assert begun.acquire(timeout=5)
        threads.abandon(hanging[-1])
        assert threads.submit(int, "5").result(5) == 5, "another thread has taken its place"
    assert threads.is_exhausted
    hanging.append(threads.submit(hang))
    assert begun.acquire(timeout=5)
    threads.abandon(hanging[-1])
    waiting = threads.submit(int, "7")
    assert len(threads._threads) == 4
    assert not waiting.running(), "there is no thread left"
    release.set()
    assert waiting.result(5) == 7
    for each in hanging:
        each.result(5)
    threads.submit(int, "1").result(5)
    assert not threads.is_exhausted
    threads.shutdown()
    assert len(threads._threads) == 1, "those that were replaced have ended"


def test_a_call_that_ends_as_it_is_abandoned_is_not_counted() -> None:
    threads = HandlerThreads(1)
    call = threads.submit(int, "1")
    call.result(5)
    threads.abandon(call)
    assert not threads._abandoned
    threads.shutdown()


def test_a_shutdown_that_waits_finishes_what_is_queued() -> None:
    threads = HandlerThreads(1)
    futures = [threads.submit(str, number) for number in range(5)]
    threads.shutdown()
    assert [each.result(0) for each in futures] == list("01234")


def test_a_handler_that_hangs_keeps_no_process_from_its_end() -> None:
    code = (
        "import threading\n"
        "from receiver.dispatch.threads import HandlerThreads\n"
        "begun = threading.Event()\n"
        "threads = HandlerThreads(1)\n"
        "threads.submit(lambda: (begun.set(), threading.Event().wait()))\n"
        "begun.wait()\n"
        "threads.shutdown(wait=False, cancel_futures=True)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=20)


def test_a_thread_that_does_not_start_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short of memory, or of threads: that call has failed, and the next one gets its thread."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    threads = HandlerThreads(2)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            threads.submit(int)
    assert threads.submit(int, "7").result(timeout=10) == 7
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert threads.submit(int, "8").result(timeout=10) == 8, "by the thread that there is"
    threads.shutdown()
