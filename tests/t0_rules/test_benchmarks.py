"""The pure parts of `scripts/bench`, and the delay proxy: what a report says follows from the samples."""

import asyncio
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from scripts.benchmarks.goals import GOALS, Ceiling, Goal, evaluate
from scripts.benchmarks.isolation import Failed, isolated
from scripts.benchmarks.report import BEGIN, END, best_peer, render, with_section, write
from scripts.benchmarks.results import BARE, Results, summarize, times_as_fast
from scripts.benchmarks.runner import Plan, rotated, run
from scripts.benchmarks.stages import FAR_AWAY, LARGE_SIZES, NEAR, Choice, Stage, stages
from scripts.benchmarks.systems import PEERS, SYSTEMS
from scripts.benchmarks.workloads import WORKLOADS, unit_of
from scripts.benchmarks.workloads.base import NotMeasured, Place, Readings, Sizes, Unit, Workload
from scripts.lib.relay import IN_FLIGHT, InFlight, Relay, RelayProxy


def results_of(samples: dict[str, dict[str, float]]) -> Results:
    results = Results(command="scripts/bench --quick")
    for metric, found in samples.items():
        for system, value in found.items():
            results.add(metric, system, value)
    return results


def test_summary_is_median_least_and_most() -> None:
    summary = summarize([3.0, 1.0, 10.0])
    assert (summary.median, summary.least, summary.most, summary.count) == (3.0, 1.0, 10.0, 3)


@pytest.mark.parametrize(("more_is_better", "ratio"), [(True, 0.5), (False, 2.0)])
def test_times_as_fast_knows_times_from_rates(more_is_better: bool, ratio: float) -> None:
    assert times_as_fast(10, 20, more_is_better=more_is_better) == ratio


def test_every_system_begins_a_turn_in_its_time() -> None:
    assert [next(rotated(["a", "b", "c"], turn)) for turn in range(4)] == ["a", "b", "c", "a"]
    assert sorted(rotated(["a", "b", "c"], 2)) == ["a", "b", "c"]


def test_metrics_are_unique_and_goals_name_existing_ones() -> None:
    metrics = [metric for workload in WORKLOADS for metric in workload.metrics]
    assert len(metrics) == len(set(metrics))
    for goal in GOALS:
        assert unit_of(goal.metric)
        if isinstance(goal, Goal):
            assert set(goal.than) <= {*SYSTEMS, BARE}
            assert unit_of(goal.their_metric or goal.metric) == unit_of(goal.metric)


def named(choice: Choice) -> dict[str, Stage]:
    return {stage.name: stage for stage in stages(choice, WORKLOADS)}


def test_every_workload_runs_far_away_and_near_where_it_can() -> None:
    found = named(Choice())
    assert list(found) == [NEAR, FAR_AWAY, LARGE_SIZES]
    assert found[FAR_AWAY].workloads == WORKLOADS
    assert [w.name for w in WORKLOADS if w not in found[NEAR].workloads] == ["far_end", "delayed"]
    assert found[NEAR].systems == found[FAR_AWAY].systems == tuple(SYSTEMS)
    assert found[FAR_AWAY].delays_ms == (0, 40)


def test_large_sizes_are_for_mountfs_and_for_all_when_asked() -> None:
    large = named(Choice())[LARGE_SIZES]
    assert large.systems == ("mountfs",)
    assert {w.name for w in large.workloads} == {
        "list",
        "upload_large",
        "upload_small",
        "read_cold",
        "far_end",
    }
    assert large.sizes.listed_files == 100_000
    assert large.sizes.large_file_mib == 1024
    assert named(Choice(full=True))[LARGE_SIZES].systems == tuple(SYSTEMS)


def test_stage_with_nothing_to_do_is_left_out() -> None:
    assert list(named(Choice(systems=("sshfs",)))) == [NEAR, FAR_AWAY]
    assert list(named(Choice(stages=(LARGE_SIZES,)))) == [LARGE_SIZES]
    delayed = [workload for workload in WORKLOADS if workload.name == "delayed"]
    assert [stage.name for stage in stages(Choice(), delayed)] == [FAR_AWAY]


def test_tags_tell_the_delay_and_what_only_reads_is_prepared_once() -> None:
    found = named(Choice(delay_ms=100))
    assert [found[name].tag(100) for name in found] == ["", "@100ms", "@large-100ms"]
    for workload in WORKLOADS:
        assert found[NEAR].turns(workload) == ((0,),)
        assert found[FAR_AWAY].turns(workload) == (((0, 100),) if workload.cold else ((0,), (100,)))
    assert named(Choice(delay_ms=0))[FAR_AWAY].delays_ms == (0,)


def _one_reading(place: Place) -> Readings:
    return {"pip.install": float(place.directory.is_dir())}


def _broken(place: Place) -> Readings:
    raise ValueError(place.directory.name)


def _hanging(place: Place) -> Readings:
    signal.pause()
    return {}


def test_workload_that_fails_or_hangs_is_noted_and_the_next_one_runs(tmp_path: Path) -> None:
    seconds = {"pip.install": Unit.SECONDS}
    workloads = tuple(
        Workload(function.__name__, seconds, function) for function in (_broken, _hanging, _one_reading)
    )
    stage = Stage(NEAR, ("ext4",), workloads, Sizes(tree_files=1, wheels=()), limit_s=1, settle_s=1)
    results = Results()
    run(Plan((stage,), 1, tmp_path, tmp_path), results, lambda text: None)
    assert results.missing == {
        "_broken": {"ext4": "ValueError: _broken-0"},
        "_hanging": {"ext4": "not done within 1 s"},
    }
    assert results.samples == {"pip.install": {"ext4": [1.0]}}
    assert results.sizes[NEAR]["tree_files"] == 1


def test_stage_that_cannot_begin_is_noted(tmp_path: Path) -> None:
    (tmp_path / NEAR).touch()
    results = Results()
    run(Plan((named(Choice())[NEAR],), 1, tmp_path, tmp_path), results, lambda text: None)
    assert list(results.missing) == ["the rest of stage near"]


def verdict_of(samples: dict[str, dict[str, float]], metric: str, than: tuple[str, ...]) -> bool | None:
    verdicts = evaluate(results_of(samples), "mountfs")
    at = next(
        at
        for at, goal in enumerate(GOALS)
        if goal.metric == metric and (isinstance(goal, Ceiling) or goal.than == than)
    )
    return verdicts[at].reached


@pytest.mark.parametrize(
    ("ours", "reached"),
    [(149.0, True), (150.0, True), (152.0, False)],
)
def test_time_within_its_share_of_ext4(ours: float, reached: bool) -> None:
    samples = {"git.status": {"mountfs": ours, "ext4": 100.0}}
    assert verdict_of(samples, "git.status", ("ext4",)) is reached


def test_faster_than_every_peer_is_measured_by_the_fastest() -> None:
    samples = {"small.stat": {"mountfs": 30.0, "rclone": 90.0, "davfs2": 29.0}}
    assert verdict_of(samples, "small.stat", PEERS) is False
    samples["small.stat"]["davfs2"] = 31.0
    assert verdict_of(samples, "small.stat", PEERS) is True


def test_equal_to_a_peer_is_not_faster() -> None:
    assert verdict_of({"small.stat": {"mountfs": 30.0, "rclone": 30.0}}, "small.stat", PEERS) is False


@pytest.mark.parametrize(("ours", "reached"), [(64.0, True), (64.5, False), (0.0, True)])
def test_ceiling(ours: float, reached: bool) -> None:
    assert verdict_of({"upload.memory": {"mountfs": ours}}, "upload.memory", ()) is reached


@pytest.mark.parametrize(("delayed", "reached"), [(109.0, True), (111.0, False)])
def test_delay_may_cost_a_tenth(delayed: float, reached: bool) -> None:
    samples = {"delayed.stat@0ms": {"mountfs": 100.0}, "delayed.stat@40ms": {"mountfs": delayed}}
    assert verdict_of(samples, "delayed.stat@40ms", ()) is reached


def test_what_was_not_measured_is_neither_reached_nor_missed() -> None:
    assert {verdict.reached for verdict in evaluate(Results(), "mountfs")} == {None}
    assert verdict_of({"git.status": {"mountfs": 1.0}}, "git.status", ("ext4",)) is None


def test_best_peer_is_the_fastest_in_the_unit_of_the_metric() -> None:
    found = {"mountfs": 1.0, "rclone": 5.0, "sshfs": 9.0}
    results = results_of({"file.seq_read": found, "small.create": found})
    assert best_peer(results, "file.seq_read") == "sshfs"
    assert best_peer(results, "small.create") == "rclone"


def test_report_shows_values_ratios_and_what_is_absent() -> None:
    results = results_of({"small.create": {"mountfs": 40.0, "ext4": 20.0, "rclone": 80.0}})
    results.add("small.create", "mountfs", 60.0)
    results.absent["sshfs"] = "sshfs is not installed"
    results.lack("pip", "rclone", "no wheels")
    text = render(results)
    assert "| small.create, µs | 20 | 50 (40-60) | 80 | 0.40 x | 1.60 x rclone |" in text
    assert "- sshfs: **absent**, sshfs is not installed" in text
    assert "- pip, rclone: no wheels" in text
    assert "speed ≥ 2 x rclone" in text


def test_report_shows_each_delay_beside_the_other_and_the_ratios_at_the_longest() -> None:
    results = results_of(
        {
            "upload.small@0ms": {"mountfs": 100.0, "rclone": 90.0, BARE: 400.0},
            "upload.small@40ms": {"mountfs": 50.0, "rclone": 10.0, "sshfs": 20.0, BARE: 200.0},
            "upload.small@large-40ms": {"mountfs": 70.0},
        }
    )
    results.sizes[FAR_AWAY] = {"processes": 8, "uploaded_files": 50, "wheels": ("click",)}
    text = render(results)
    heading = "### Round-trip delay: 0 and 40 ms\n\nOther sizes than without delay: "
    assert f"{heading}uploaded files 50, wheels click\n" in text
    ratios = "| 0.50 x | 2.50 x sshfs | 0.25 x |"
    assert f"| upload.small, 1/s | 100 → 50 | 90 → 10 | - → 20 | 400 → 200 {ratios}" in text
    assert "### Large sizes: 40 ms\n" in text
    assert "| upload.small, 1/s | 70 |" in text
    assert "### Transfers" not in text


def test_gaps_with_one_reason_are_one_line() -> None:
    results = Results()
    for workload in ("locks", "locks@0ms", "locks@40ms"):
        for system in ("rclone", "sshfs"):
            results.lack(workload, system, "no locks")
    results.lack("locks@40ms", "davfs2", "not done within 60 s")
    assert render(results).partition("### Not measured\n\n")[2].splitlines() == [
        "- locks, locks@0ms, locks@40ms, rclone, sshfs: no locks",
        "- locks@40ms, davfs2: not done within 60 s",
    ]


def test_generated_section_replaces_only_itself() -> None:
    once = with_section("# Page\n\nabove\n", "first")
    assert once == f"# Page\n\nabove\n\n{BEGIN}\nfirst\n{END}\n"
    assert with_section(f"{once}below\n", "second") == once.replace("first", "second") + "below\n"


def test_report_is_written_beside_its_data(tmp_path: Path) -> None:
    results = results_of({"delayed.stat@40ms": {"mountfs": 3.0}})
    assert '"delayed.stat@40ms": "µs"' in write(results, tmp_path).read_text()
    assert "| delayed.stat, µs | 3 |" in (tmp_path / "performance.md").read_text()


def test_isolated_call_gives_its_result_or_its_reason() -> None:
    def refuse() -> None:
        raise NotMeasured("no network")

    assert isolated(lambda: {"a": 1.0}, 30) == {"a": 1.0}
    with pytest.raises(NotMeasured, match="no network"):
        isolated(refuse, 30)
    with pytest.raises(Failed, match="ZeroDivisionError"):
        isolated(lambda: 1 / 0, 30)


def test_isolated_call_that_hangs_is_ended_with_what_it_started(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    os.mkfifo(note)
    reader = os.open(note, os.O_RDONLY | os.O_NONBLOCK)
    command = ["sh", "-c", f"exec sleep 600 > {note}"]
    with pytest.raises(Failed, match="not done within"):
        isolated(lambda: subprocess.run(command, check=False), 0.5)
    os.set_blocking(reader, True)
    assert os.read(reader, 1) == b""  # nobody has the other end open any more
    os.close(reader)


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(65536):
        writer.write(piece)
        await writer.drain()
    writer.close()


async def _round_trip(delay_ms: float, content: bytes) -> tuple[float, bytes, int]:
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    proxy = RelayProxy(server.sockets[0].getsockname()[1], delay_ms)
    listening, port = await proxy.listen()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    begin = time.monotonic()
    writer.write(content)
    answer = await reader.readexactly(len(content))
    took_s = time.monotonic() - begin
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()
    listening.close()
    server.close()
    return took_s, answer, proxy.received_bytes


def test_delay_proxy_adds_its_delay_and_counts_every_byte() -> None:
    content = bytes(range(256)) * 4096
    took_s, answer, received = asyncio.run(_round_trip(60, content))
    assert answer == content
    assert took_s >= 0.12  # the connection costs a round trip, too
    assert received == len(content)


def test_delay_proxy_holds_so_many_bytes_and_any_number_of_pieces() -> None:
    async def fill() -> None:
        way = InFlight()
        for _ in range(10_000):
            await way.put(0.0, b"x")
        await way.put(0.0, bytes(IN_FLIGHT))
        waiting = asyncio.create_task(way.put(0.0, b"last"))
        for _ in range(10_000):
            await way.get()
            await asyncio.sleep(0)  # its turn
            assert not waiting.done()
        await way.get()
        await waiting

    asyncio.run(asyncio.wait_for(fill(), 30))


def test_relay_swallows_and_then_ends_what_lost_something() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        relay = Relay.started(listener.getsockname()[1])
        try:
            with socket.create_connection(("127.0.0.1", relay.port)) as client:
                there, _ = listener.accept()
                with there:
                    client.sendall(b"passes")
                    assert there.recv(100) == b"passes"
                    relay.set_dropping(True)
                    client.sendall(b"vanishes")
                    relay.set_dropping(False)
                    assert _rest_of(there) == _rest_of(client) == b""
            with socket.create_connection(("127.0.0.1", relay.port)) as client:
                there, _ = listener.accept()
                with there:
                    client.sendall(b"again")
                    assert there.recv(100) == b"again"
                    relay.cut()
                    assert _rest_of(client) == b""
        finally:
            relay.stop()


def _rest_of(connection: socket.socket) -> bytes:
    try:
        return connection.recv(100)
    except ConnectionResetError:
        return b""
