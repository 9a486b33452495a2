"""Promise: whatever is killed, frozen or cut off, every run ends once, and nothing is left behind.

Starts an installation of its own, submits runs for some minutes, and all the time kills, freezes
and restarts its workers, web, scheduler, broker and database, fills the disk of one worker and cuts
its network. Then an auditor reads database and store. The ledger goes to stderr; the report on
stdout counts the runs that are right. Exit code 1 when anything is wrong.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.chaos_audit import Asked
from bench.report import Report, TookTooLong, bounded, parser, rounded

if TYPE_CHECKING:
    import argparse

    from bench.chaos_apps import Wish
    from bench.chaos_audit import Ledger
    from bench.chaos_site import Site
    from runs.models import Run

TURN_S = 0.05
IDLE_LIMIT_S = 90.0
"""Once all runs are final, so long may the last leftovers take: logs to join, slots to show."""
TIDIED_QUESTIONS = (
    "SELECT count(*) FROM runs_logchunk",
    "SELECT count(*) FROM runs_attempt WHERE ended_at IS NULL",
    "SELECT count(*) FROM runs_worker WHERE state <> 'lost' AND slots_used > 0",
)
ACTIVE_QUESTION = "SELECT count(*) FROM runs_worker WHERE state = 'active'"


def main() -> None:
    """Print the ledger, and one JSON line: how many of the submitted runs are right."""
    arguments = _arguments()
    chaos = f"{arguments.database} and {arguments.broker}, seed {arguments.seed}"
    _say(f"Chaos on {chaos}: {arguments.runs} runs in {arguments.minutes:g} minutes")
    report = Report("chaos", promise="ratio 1", unit="runs that are right")
    with bounded(arguments.limit), _site(arguments) as site:
        ledger, more = _make_chaos(site, arguments)
    for line in ledger.lines():
        _say(line)
    report.say(
        floor=arguments.runs,
        figure=ledger.right,
        wrong={what: len(cases) for what, cases in ledger.wrong.items()},
        database=arguments.database,
        broker=arguments.broker,
        seed=arguments.seed,
        minutes=arguments.minutes,
        **more,
    )
    if ledger.wrong:
        sys.exit(1)


def _arguments() -> argparse.Namespace:
    made = parser(__doc__, limit_s=0)
    made.add_argument("--runs", type=int, default=2000, help="how many runs (2000)")
    made.add_argument("--minutes", type=float, default=10, help="over how many minutes (10)")
    made.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    made.add_argument(
        "--broker",
        choices=("folder", "redis", "rabbitmq"),
        help="default: folder with sqlite, redis with postgres",
    )
    made.add_argument("--seed", type=int, default=1, help="the same seed, the same wishes (1)")
    made.add_argument("--workers", type=int, default=3, help="how many workers (3)")
    made.add_argument("--slots", type=int, default=4, help="slots of each worker (4)")
    made.add_argument(
        "--lease", type=float, default=0, metavar="SECONDS", help="a shorter lease than usual"
    )
    made.add_argument(
        "--every", type=float, default=4, metavar="SECONDS", help="a fault every so often (4)"
    )
    made.add_argument(
        "--settle", type=float, default=300, metavar="SECONDS", help="time to end all runs (300)"
    )
    made.add_argument("--keep", action="store_true", help="keep the folder of the installation")
    arguments = made.parse_args()
    arguments.broker = arguments.broker or ("folder" if arguments.database == "sqlite" else "redis")
    if arguments.database == "postgres" and arguments.broker == "folder":
        made.error("workers with data directories of their own need a broker: redis or rabbitmq")
    spent = arguments.minutes * 60 + arguments.settle + IDLE_LIMIT_S + 180
    arguments.limit = arguments.limit or round(spent)
    return arguments


@contextlib.contextmanager
def _site(arguments: argparse.Namespace) -> Iterator[Site]:
    """An installation that is prepared; whatever happens, nothing of it is left."""
    from bench.chaos_servers import NoServer
    from bench.chaos_site import Site, Wanted

    folder = Path(tempfile.mkdtemp(prefix="runsite-chaos-"))
    wanted = Wanted(
        database=arguments.database,
        broker=arguments.broker,
        workers=arguments.workers,
        slots=arguments.slots,
        lease_s=arguments.lease,
    )
    site = Site(folder, wanted, _say)
    try:
        site.prepare()
        yield site
    except NoServer as error:
        raise SystemExit(f"chaos: {error}") from error
    finally:
        site.end()
        if arguments.keep:
            _say(f"Kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _make_chaos(site: Site, arguments: argparse.Namespace) -> tuple[Ledger, dict[str, object]]:
    from bench.chaos_apps import wishes
    from bench.chaos_faults import Chaos

    for fault, why in site.skipped.items():
        _say(f"skipped: {fault}, as {why}")
    began = time.monotonic()

    def say(words: str) -> None:
        _say(f"{time.monotonic() - began:7.1f} s  {words}")

    chaos = Chaos(site, seed=arguments.seed, every_s=arguments.every, say=say)
    wanted = wishes(arguments.runs, arguments.seed)
    people = People(site, wanted, seed=arguments.seed, over_s=arguments.minutes * 60)
    chaos.turn(faults=False)
    _turn_until(chaos, site.is_open, limit_s=120, what="the console does not answer")
    say("started")
    people.start()
    try:
        _turn_until(
            chaos,
            people.have_submitted,
            limit_s=arguments.minutes * 60 + 120,
            faults=True,
            what="not all runs were submitted",
        )
        say(f"all {len(wanted)} runs are submitted; what is broken is mended")
        chaos.calm()
        people.cancel_no_more()
        settled = time.monotonic()
        final = _turn_until(chaos, _all_final, limit_s=arguments.settle)
        say(f"{'all runs are' if final else 'NOT all runs are'} final")
        settle_s = time.monotonic() - settled
        idle = _turn_until(chaos, lambda: _is_idle(site), limit_s=IDLE_LIMIT_S)
        say("nothing is left to do" if idle else "something is left to do")
    finally:
        people.stop()
    ledger = _audit(site, people)
    if not final or not idle:
        ledger.blame("an installation that did not come to rest", _why_not_idle(site))
    left = site.stop()
    for words in left:
        ledger.blame("processes that outlived the end of the installation", words)
    ledger.figures |= {
        "faults": f"{sum(chaos.done.values())}: "
        + ", ".join(f"{count} {name}" for name, count in chaos.done.most_common()),
        "started again": ", ".join(f"{name} {n}" for name, n in sorted(chaos.starts.items())),
        "pages": ", ".join(f"{count} {words}" for words, count in people.pages.most_common()),
        "canceled on request": len(people.asked.canceled),
        "stopped on request": len(people.asked.stopped),
        "seconds to settle": rounded(settle_s),
    }
    more = {
        "faults": sum(chaos.done.values()),
        "attempts": ledger.figures["attempts"],
        "executions": ledger.figures["executions"],
        "settle_s": rounded(settle_s),
    }
    return ledger, more


def _audit(site: Site, people: People) -> Ledger:
    from bench.chaos_audit import audit

    ledger = audit(
        wishes={wish.name: wish for wish in people.wanted},
        asked=people.asked,
        marks=site.marks,
        most_attempts=site.wanted.attempts,
        small_disk=site.disk.name if site.disk else "",
    )
    for process in site.apps():
        ledger.blame("processes of runs that live on", f"{process}")
    for path in site.workspaces():
        ledger.blame("workspaces that are left", f"{path}")
    ledger.figures["orphans"] = len(ledger.wrong.get("processes of runs that live on", ()))
    return ledger


def _turn_until(
    chaos: object,
    condition: Callable[[], bool],
    *,
    limit_s: float,
    faults: bool = False,
    what: str = "",
) -> bool:
    """Let chaos go on until something is so; whether it came to that. With `what` it must."""
    from bench.chaos_faults import Chaos

    assert isinstance(chaos, Chaos)
    end, asked = time.monotonic() + limit_s, 0.0
    while time.monotonic() < end:
        chaos.turn(faults=faults)
        if time.monotonic() - asked >= 0.5:
            if condition():
                return True
            asked = time.monotonic()
        time.sleep(TURN_S)  # rows, files and processes of others: nothing tells when they change
    if what:
        raise TookTooLong(what)
    return False


def _all_final() -> bool:
    return _count("SELECT count(*) FROM runs_run WHERE status IN ('queued', 'running')") == 0


def _is_idle(site: Site) -> bool:
    """Whether all is up and nothing is under way any more, rows and workspaces included."""
    if any(_count(question) != 0 for question in TIDIED_QUESTIONS):
        return False
    if _count(ACTIVE_QUESTION) != site.wanted.workers or not site.is_open():
        return False
    return not site.workspaces() and not site.apps()


def _why_not_idle(site: Site) -> str:
    from bench.chaos_audit import rows

    return "; ".join(
        (
            f"pages {'answer' if site.is_open() else 'do not answer'}",
            *(f"{question}: {_count(question)}" for question in TIDIED_QUESTIONS),
            *(f"{w['name']} is {w['state']}" for w in rows("runs_worker")),
            f"workspaces {[path.name for path in site.workspaces()]}",
            f"apps {site.apps()}",
        )
    )


def _count(question: str) -> int:
    """The answer; -1 when the database does not give any."""
    from django.db import DatabaseError, connection

    try:
        with connection.cursor() as cursor:
            cursor.execute(question)
            return int(cursor.fetchone()[0])
    except DatabaseError:
        connection.close()
        return -1


class People:
    """Those who submit and cancel runs and look at pages meanwhile, each in a thread."""

    def __init__(self, site: Site, wanted: list[Wish], *, seed: int, over_s: float) -> None:
        self.site = site
        self.wanted = wanted
        self.asked = Asked()
        self.pages: Counter[str] = Counter()
        self._over_s = over_s
        self._chance = random.Random(f"people {seed}")
        self._ids: list[str] = []
        self._runs: dict[str, Run] = {}
        self._submitted = threading.Event()
        self._calm = threading.Event()
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=act, name=act.__name__, daemon=True)
            for act in (self._submit_all, self._interfere, self._look_at_pages)
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End, and wait for that."""
        self._over.set()
        for thread in self._threads:
            thread.join(40)

    def have_submitted(self) -> bool:
        """Whether all runs are in."""
        return self._submitted.is_set()

    def cancel_no_more(self) -> None:
        """From now on all runs may finish."""
        self._calm.set()

    def _submit_all(self) -> None:
        from django.db import connection

        pause_s = self._over_s / max(1, len(self.wanted))
        begin = time.monotonic()
        for number, wish in enumerate(self.wanted):
            # Late after an outage, it catches up.
            self._over.wait(max(0.0, begin + number * pause_s - time.monotonic()))
            while not self._over.is_set() and not self._submit(wish):
                self._over.wait(0.3)
        connection.close()
        self._submitted.set()

    def _submit(self, wish: Wish) -> bool:
        """Submit it, unless a try whose answer was lost has done so; whether it is in now."""
        from django.db import DatabaseError, connection

        from runs.actions.actors import product
        from runs.actions.runs import submit_run
        from runs.models import Account, Run

        try:
            account = Account.objects.get(slug="demo")
            found = Run.objects.filter(account=account, name=wish.name).first()
            run = found or submit_run(
                account=account,
                application=account.applications.get(application_id=wish.kind.application),
                actor=product("chaos"),
                options=wish.options(self.site.marks),
                input_data=self.site.files if wish.kind.name == "files" else None,
                name=wish.name,
                waits_for=[self._runs[name] for name in wish.waits_for],
                wait_policy=wish.wait_policy,
            )
        except DatabaseError:
            connection.close()
            return False
        self._ids.append(run.run_id)
        self._runs[wish.name] = run
        return True

    def _interfere(self) -> None:
        from django.db import DatabaseError, connection

        from runs.actions.actors import product
        from runs.actions.run_stops import stop_run
        from runs.actions.runs import cancel_run
        from runs.domain.errors import Conflict
        from runs.models import Run

        while not self._calm.wait(self._chance.uniform(2.0, 14.0)) and not self._over.is_set():
            try:
                active = Run.objects.active().order_by("?").first()
                # Noted first: should the answer get lost, it may have come to pass all the same.
                if active is not None and self._chance.random() < 0.4:
                    self.asked.stopped.add(active.run_id)
                    stop_run(run=active, actor=product("chaos"))
                elif active is not None:
                    self.asked.canceled.add(active.run_id)
                    cancel_run(run=active, actor=product("chaos"))
            except DatabaseError:
                connection.close()
            except Conflict:
                continue  # it has not started, or ended meanwhile
        connection.close()

    def _look_at_pages(self) -> None:
        import http.client

        cookie = self._cookie()
        while not self._over.wait(0.5):
            path = self._chance.choice(["/", "/runs/", "/queue/", "/workers/", "/readyz"])
            if self._ids and self._chance.random() < 0.3:
                path = f"/runs/{self._chance.choice(self._ids)}/"
            asked = http.client.HTTPConnection("127.0.0.1", self.site.port, timeout=15)
            try:
                asked.request("GET", path, headers={"Cookie": cookie})
                answer = asked.getresponse()
                answer.read()
                self.pages[f"{answer.status}"] += 1
            except TimeoutError:
                self.pages["no answer within 15 s"] += 1
            except (OSError, http.client.HTTPException):
                self.pages["nobody there"] += 1
            finally:
                asked.close()

    def _cookie(self) -> str:
        from django.conf import settings
        from django.db import DatabaseError, connection
        from django.test import Client

        from runs.models import User

        while not self._over.is_set():
            try:
                client = Client()
                client.force_login(User.objects.filter(is_superuser=True)[0])
                name = settings.SESSION_COOKIE_NAME
                return f"{name}={client.cookies[name].value}"
            except DatabaseError:
                connection.close()
                self._over.wait(1.0)
        return ""


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    os.umask(0o077)
    main()
