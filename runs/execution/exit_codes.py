"""Exit code or signal → what happened and what to do, in words."""

from __future__ import annotations

import signal as signals
from dataclasses import dataclass

from runs.execution.spec import Asked, Breach


@dataclass(frozen=True)
class Explanation:
    """How an end is told to people."""

    error: str
    """One short line, empty when nothing went wrong."""
    detail: str
    """One sentence of cause and remedy, empty when `error` is."""


@dataclass(frozen=True)
class Figures:
    """What is known of an end besides its reason."""

    breach: Breach | None = None
    asked: Asked | None = None
    log_limit_bytes: int | None = None
    logged_bytes: int = 0


NOTHING = Explanation("", "")

_CODES = {
    1: "The program ended with an error that it did not handle; the last lines of the log say"
    " which.",
    2: "The program refused its command line, usually an option with a wrong type or value; the"
    " log shows its usage message. Correct the options and run it again.",
    126: "A command that the program called exists but cannot be executed; make that file"
    " executable and upload the application again.",
    127: "A command that the program called was not found; add it to the application or install it"
    " on the worker.",
}

_SIGNALS = {
    signals.SIGHUP: "Something outside the console told the program to hang up; look at what else"
    " runs on the worker, and run it again.",
    signals.SIGINT: "Something outside the console interrupted the program; look at what else runs"
    " on the worker, and run it again.",
    signals.SIGQUIT: "Something outside the console told the program to quit; look at what else"
    " runs on the worker, and run it again.",
    signals.SIGILL: "The program or one of its libraries was built for another processor; build it"
    " for the worker's, or install another build of the library.",
    signals.SIGTRAP: "The program, or a library in it, stopped itself after a failed check; the"
    " last lines of the log say which.",
    signals.SIGABRT: "The program, or a library in it, gave up after an internal check failed; the"
    " last lines of the log usually say which.",
    signals.SIGBUS: "The program reached for memory that is not there, often a file that shrank or"
    " a full disk; look at the free space of the worker.",
    signals.SIGFPE: "The program divided by zero or overflowed in compiled code; check the numbers"
    " of the input.",
    signals.SIGKILL: "Something outside the console killed the program, most often the system when"
    " memory ran out; look at its memory under Resources, then give it a smaller input or a larger"
    " worker.",
    signals.SIGSEGV: "The program, or a library in it, reached for memory that is not its own;"
    " update the library that the log names last, or report the fault to its makers.",
    signals.SIGPIPE: "The program wrote to a connection that the other side had closed; the last"
    " lines of the log say where.",
    signals.SIGALRM: "An alarm that the program set for itself went off; raise its own time limit.",
    signals.SIGTERM: "Something outside the console asked the program to end; look at what else"
    " runs on the worker, and run it again.",
    signals.SIGXCPU: "The program used more CPU time than the worker's user may; raise that limit"
    " on the worker.",
    signals.SIGXFSZ: "The program wrote a file larger than the worker's user may; raise that limit"
    " on the worker.",
    signals.SIGSYS: "The program used a system call that is forbidden on the worker; run it on"
    " another one.",
}


def explain(
    exit_code: int | None,
    signal: int | None = None,
    *,
    reason: str | None = None,
    time_limit_s: float | None = None,
    output_limit_bytes: int | None = None,
    figures: Figures = Figures(),
) -> Explanation:
    """What to tell people about an end.

    `exit_code` and `signal` are those of the program, each None where the other holds; `reason` is
    an end reason that the console gave (`spec.Reason`), None when the program ended by itself.
    """
    if reason is not None:
        return _for_limit(reason, figures) or _for_reason(reason, time_limit_s, output_limit_bytes)
    if signal is not None:
        return Explanation(f"killed by signal {signal}", _signal_detail(signal))
    if not exit_code:
        return NOTHING
    error = f"exit code {exit_code}"
    if exit_code in _CODES:
        return Explanation(error, _CODES[exit_code])
    number = exit_code - 128
    if number in _SIGNALS:
        # What a shell, or a program that catches signals, makes of a signal.
        return Explanation(error, f"{_signal_name(number)}: {_signal_detail(number)}")
    return Explanation(
        error,
        "The program ended with a code of its own; the last lines of the log, or its documentation,"
        " say what it means.",
    )


def _for_reason(
    reason: str, time_limit_s: float | None, output_limit_bytes: int | None
) -> Explanation:
    if reason == "timed_out":
        limit = f" of {_number(time_limit_s)} s" if time_limit_s is not None else ""
        return Explanation(
            f"time limit{limit}",
            "The program did not end within its time limit and was ended; raise the limit of the"
            " run, or give the program less to do.",
        )
    if reason == "canceled":
        return Explanation("canceled", "The run was canceled and its processes were ended.")
    if reason == "worker_stopped":
        return Explanation(
            "worker stopped",
            "The worker was told to end its runs; run it again when a worker is there.",
        )
    if reason == "output_too_large":
        limit = f" of {_size(output_limit_bytes)}" if output_limit_bytes is not None else ""
        return Explanation(
            f"output limit{limit}",
            "The program wrote more to its output than is kept and was ended; write less, or raise"
            " the limit of the application.",
        )
    if reason == "out_of_memory":
        return Explanation(
            "killed by signal 9 (memory limit)",
            "The system ended the program because memory ran out; give it a smaller input, or a"
            " worker with more memory.",
        )
    return Explanation(reason.replace("_", " "), "The log and the history of the run say more.")


def _for_limit(reason: str, figures: Figures) -> Explanation | None:
    """The words of the limits and of stop and keep, with the figures that are known."""
    if reason == "memory_limit":
        return _memory_limit(figures.breach)
    if reason == "process_limit":
        return _process_limit(figures.breach)
    if reason == "log_too_large":
        limit = f" of {_size(figures.log_limit_bytes)}" if figures.log_limit_bytes else ""
        logged = f": {_size(figures.logged_bytes)} were logged" if figures.logged_bytes else ""
        return Explanation(
            f"log limit{limit}{logged}",
            "The program logged more than is allowed and was ended; log less, or raise the log"
            " limit of the application.",
        )
    if reason == "stopped_early":
        return _stopped_early(figures.asked)
    return None


def _memory_limit(breach: Breach | None) -> Explanation:
    remedy = "give it a smaller input, or raise the memory limit of the application."
    if breach is None:
        return Explanation(
            "memory limit", f"The program used more memory than is allowed and was ended; {remedy}"
        )
    whose = "1 process" if breach.processes == 1 else f"{breach.processes} processes"
    named = " ".join(word.rpartition("/")[2] for word in breach.largest.split(" "))
    most = f" (`{named}` had {_size(breach.largest_used)})" if named else ""
    return Explanation(
        f"memory limit: {_size(breach.limit)} allowed, {_size(breach.used)} used by {whose}",
        f"The program used more memory than is allowed{most} and was ended; {remedy}",
    )


def _process_limit(breach: Breach | None) -> Explanation:
    remedy = "start fewer at once, or raise the process limit of the application."
    if breach is None:
        return Explanation(
            "process limit",
            f"The program had more processes than are allowed and was ended; {remedy}",
        )
    most = f" ({breach.largest_used} of them `{breach.largest}`)" if breach.largest else ""
    return Explanation(
        f"process limit: {breach.limit} allowed, {breach.used} alive",
        f"The program had more processes than are allowed{most} and was ended; {remedy}",
    )


def _stopped_early(asked: Asked | None) -> Explanation:
    if asked is None:
        return Explanation(
            "stopped early", "The run was stopped before the program had begun; launch it again."
        )
    why = "the time limit was reached" if asked.at_limit else "somebody wanted the result"
    error = "stopped early at the time limit" if asked.at_limit else "stopped early"
    if not asked.forced:
        return Explanation(
            error,
            f"The program was told to stop ({asked.signal}), as {why}, and ended"
            f" {_soon(asked.took_s)}; what it had written counts.",
        )
    did = f"ignores {asked.signal}" if asked.ignored else f"was told to stop ({asked.signal})"
    return Explanation(
        error,
        f"The program {did}, did not end within {_number(asked.grace_s)} s and was ended, as {why};"
        " what it had written counts: let it react to that signal, or give it more time to stop.",
    )


def _signal_name(number: int) -> str:
    try:
        return signals.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _signal_detail(number: int) -> str:
    try:
        return _SIGNALS[signals.Signals(number)]
    except (ValueError, KeyError):
        return (
            f"The program was ended by {_signal_name(number)}; the last lines of the log may say"
            " why."
        )


def _soon(took_s: float) -> str:
    return f"within {took_s:.1f} s" if took_s >= 0.05 else "at once"


def _number(value: float) -> str:
    return f"{value:g}" if value != int(value) else str(int(value))


def _size(size_bytes: int) -> str:
    value = float(size_bytes)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            return f"{value:.4g} {unit}"
        value /= 1024
    raise AssertionError("the last unit has no limit")
