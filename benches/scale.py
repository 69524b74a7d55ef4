"""What size costs: of objects, of their number, of durability. Called by run.py."""

import statistics
import sys

from servers import S3pail, peak_kib, run_load, server_options

QUIET = ("--log-level", "warn")
SMALL_STORE_KEYS = 1_000
PAGE = 1_000
CROWDS = (32, 1_000)


def print_table(results):
    print(f"  {'':<5} {'server':<12} {'ops/s':>8} {'ratio':>6} {'MB/s':>7} {'p50 ms':>7} {'p99 ms':>7} "
          f"{'CPU us':>7} {'failed':>6}")
    for line in results:
        print(f"  {line['operation']:<5} {line['target']:<12} {line['operations_per_s'] or 0:>8.0f} "
              f"{line['ratio'] or 0:>6.2f} {line['mb_per_s'] or 0:>7.1f} {line['p50_ms']:>7.2f} {line['p99_ms']:>7.2f} "
              f"{line['server_cpu_us']:>7.1f} {line['failures']:>6}")
        if line["first_failure"]:
            print(f"        ! {line['first_failure'][:200]}")
    sys.stdout.flush()


def sizes(load, args, scratch, add_nginx):
    """Larger objects beside nginx, and what one core can digest: every upload goes through MD5."""
    results = []
    md5, = run_load([load, "md5"])
    for size, objects in ((64 << 10, 256), (64 << 20, 4)):
        folder, servers = scratch / f"size-{size}", []
        folder.mkdir()
        try:
            if args.nginx:
                add_nginx(servers, folder, False)
            servers.append(S3pail(args.binary, "file", folder / "file", QUIET))
            print(f"objects of {size >> 10} KiB, {args.connections} connections, --sync none; ratios are to "
                  f"{servers[0].name}", flush=True)
            lines = run_load([load, "compare", "--size", size, "--objects", objects, "--connections", args.connections,
                              "--seconds", args.seconds, "--rounds", args.rounds, "--operations", "get,put",
                              *targets(servers)])
        finally:
            stop(servers)
        print_table(lines)
        results += lines
    put = next(line for line in reversed(results) if line["operation"] == "PUT")
    limit = md5["md5_mb_per_s"]
    print(f"MD5 on one core alone: {limit:.0f} MB/s; {put['target']} PUT of 64 MiB: {put['mb_per_s']:.0f} MB/s, "
          f"{put['mb_per_s'] / limit:.2f} of it", flush=True)
    return results


def listing(load, args, scratch, add_peers):
    """The first page of a bucket with two, from each server in turn."""
    folder, servers = scratch / "listing", []
    folder.mkdir()
    found = {}
    try:
        add_peers(servers, folder)
        servers += [S3pail(args.binary, backend, folder / backend, QUIET) for backend in ("file", "mem")]
        run_load([load, "compare", "--size", 16, "--objects", 2 * PAGE, "--connections", args.connections, "--seconds", 0.1,
                  "--rounds", 1, "--operations", "get", *targets(servers)])
        for _ in range(args.rounds):
            for server in servers:
                line, = run_load([load, "list", "--bucket", "bench", "--objects", PAGE, "--connections",
                                  args.connections, "--seconds", args.seconds, "--rounds", 1, *targets([server])])
                found.setdefault(server.name, []).append(line)
    finally:
        stop(servers)
    results = [{name: statistics.median(line[name] for line in lines) for name in
                ("pages_per_s", "p50_ms", "p99_ms", "server_cpu_us")} | {"target": target}
               for target, lines in found.items()]
    garage = next((line["pages_per_s"] for line in results if line["target"] == "garage"), None)
    print(f"pages of {PAGE} keys, {args.connections} connections, medians of {args.rounds} rounds of {args.seconds} s",
          flush=True)
    for line in results:
        ratio = f", {line['pages_per_s'] / garage:.2f} of garage" if garage else ""
        print(f"  {line['target']:<12} {line['pages_per_s']:>7.0f}/s{ratio}  p50 {line['p50_ms']:.2f} ms  "
              f"p99 {line['p99_ms']:.2f} ms  CPU {line['server_cpu_us'] / 1000:.2f} ms", flush=True)
    return results


def sync_modes(load, args, scratch):
    """What durability costs when many clients share a sync."""
    servers = []
    try:
        for mode in ("none", "relaxed", "strict"):
            servers.append(S3pail(args.binary, "file", scratch / f"sync-{mode}", QUIET, mode))
            servers[-1].name = mode
        print(f"PUT of {args.size} bytes, 32 connections; ratios are to --sync none", flush=True)
        results = run_load([load, "compare", "--size", args.size, "--connections", 32, "--seconds", args.seconds,
                            "--rounds", args.rounds, "--operations", "put", *targets(servers)])
    finally:
        stop(servers)
    print_table(results)
    return results


def million(load, args, scratch):
    """A store with very many objects beside one with few."""
    folder = scratch / "many"
    few, many = S3pail(args.binary, "file", scratch / "few", QUIET), S3pail(args.binary, "file", folder, QUIET)
    results = {"keys": args.keys}
    try:
        few.name, many.name = f"{SMALL_STORE_KEYS} objects", f"{args.keys} objects"
        once = ["--size", args.size, "--seconds", 0.1, "--rounds", 1, "--operations", "get"]
        run_load([load, "compare", *once, "--objects", SMALL_STORE_KEYS, "--target", few.as_target()])
        run_load([load, "compare", *once, "--objects", 1, "--target", many.as_target()])
        many.stop()
        stock(load, args, folder)
        results["start"] = starts(load, args, folder)
        many = S3pail(args.binary, "file", folder, QUIET)
        many.name = f"{args.keys} objects"
        results["requests"] = requests(load, args, few, many, folder)
        results["pages"] = pages(load, args, few, many)
        results["memory_kib"] = crowds(load, args, many, folder)
    finally:
        stop([few, many])
    return results


def stock(load, args, folder):
    print(f"filling three buckets with {args.keys}, {args.keys} and {PAGE} objects", flush=True)
    words = [load, "stock", "--folder", folder / "metadata"]
    run_load([*words, "--bucket", "thousand", "--objects", PAGE, "--size", 0])
    run_load([*words, "--bucket", "groups", "--objects", args.keys, "--size", 0, "--groups", min(PAGE, args.keys)])
    run_load([*words, "--bucket", "bench", "--objects", args.keys, "--size", args.size])
    database = (folder / "metadata/s3pail.redb").stat().st_size
    print(f"the database has {database / 1e6:.0f} MB", flush=True)


def starts(load, args, folder):
    """Servers are killed, so every start but the first has a journal to look at."""
    found = {}
    for name, where in (("empty", "{dir}"), ("full", folder)):
        result, = run_load([load, "startup", "--rounds", min(args.starts, 11), "--", args.binary,
                            *server_options("file", where)])
        found[name] = result["first_answer_ms"]
    print(f"start to first answer: {found['empty']:.1f} ms empty, {found['full']:.1f} ms with {args.keys} objects "
          f"({found['full'] / found['empty']:.2f})", flush=True)
    return found


def warm(folder):
    """Reads the database, so that the system has it in its cache: what is measured is the server, not the disk."""
    with open(folder / "metadata/s3pail.redb", "rb") as database:
        while database.read(1 << 20):
            pass


def requests(load, args, few, many, folder):
    """Both stores in turn, each with its own number of objects."""
    lines = {}
    for _ in range(args.rounds):
        for server, objects in ((few, SMALL_STORE_KEYS), (many, args.keys)):
            warm(folder)
            for line in run_load([load, "compare", "--size", args.size, "--objects", objects, "--filled", "yes",
                                  "--connections", args.connections, "--seconds", args.seconds, "--rounds", 1,
                                  "--target", server.as_target()]):
                lines.setdefault((line["operation"], server.name), []).append(line)
    print(f"{args.size} byte objects, {args.connections} connections, the database in the system's cache; cost is time "
          f"and CPU of a request, relative to {few.name}", flush=True)
    found = []
    for (operation, name), rounds in lines.items():
        rate = statistics.median(line["operations_per_s"] for line in rounds)
        cpu = statistics.median(line["server_cpu_us"] for line in rounds)
        worst = max(line["p99_ms"] for line in rounds)
        found.append({"operation": operation, "target": name, "operations_per_s": rate, "server_cpu_us": cpu,
                      "p99_ms": worst, "failures": sum(line["failures"] for line in rounds)})
    base = {line["operation"]: line for line in found if line["target"] == few.name}
    for line in sorted(found, key=lambda line: line["operation"]):
        first = base[line["operation"]]
        line["time_ratio"] = first["operations_per_s"] / max(line["operations_per_s"], 1)
        line["cpu_ratio"] = line["server_cpu_us"] / max(first["server_cpu_us"], 0.1)
        print(f"  {line['operation']:<5} {line['target']:<16} {line['operations_per_s']:>8.0f}/s "
              f"(time {line['time_ratio']:.2f})  CPU {line['server_cpu_us']:>6.1f} us ({line['cpu_ratio']:.2f})  "
              f"p99 {line['p99_ms']:.2f} ms  failed {line['failures']}", flush=True)
    return found


def pages(load, args, few, many):
    """The same page at different places, one connection: what a page costs, not how many fit."""
    last = args.keys - PAGE - 1
    kinds = [("of 1000 keys", few, "bench", []), ("of 1000, beside", many, "thousand", [])]
    for where, after in (("start", 0), ("middle", args.keys // 2), ("end", last)):
        kinds.append((f"of {args.keys}, {where}", many, "bench", ["--start-after", f"object-{after:06}"]))
    kinds.append((f"{min(PAGE, args.keys)} groups", many, "groups", ["--groups", 1]))
    found = []
    print("pages of 1000 entries, one connection", flush=True)
    for name, server, bucket, more in kinds:
        line, = run_load([load, "list", "--target", server.as_target(), "--bucket", bucket, "--objects", PAGE,
                          "--connections", 1, "--seconds", args.seconds, "--rounds", args.rounds, *more])
        line["page"] = name
        found.append(line)
        print(f"  {name:<22} {line['pages_per_s']:>7.0f}/s  p50 {line['p50_ms']:.2f} ms  p99 {line['p99_ms']:.2f} ms  "
              f"CPU {line['server_cpu_us'] / 1000:.2f} ms", flush=True)
    return found


def crowds(load, args, server, folder):
    """The most memory that load by few and by many connections makes resident, each on a fresh process."""
    found = {}
    for connections in CROWDS:
        server.stop()
        server = S3pail(args.binary, "file", folder, QUIET)
        try:
            run_load([load, "compare", "--size", args.size, "--objects", args.keys, "--filled", "yes", "--connections",
                      connections, "--seconds", args.seconds * 2, "--rounds", 1, "--target", server.as_target()])
            found[connections] = peak_kib(server.process.pid)
        finally:
            server.stop()
        print(f"memory with {args.keys} objects and {connections} connections: {found[connections] / 1024:.1f} MiB at "
              "most", flush=True)
    return found


def targets(servers):
    return [word for server in servers for word in ("--target", server.as_target())]


def stop(servers):
    for server in reversed(servers):
        server.stop()
