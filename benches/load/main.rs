//! Measures servers on loopback: how fast they start, what they do beside each other under load, and
//! what one huge object costs them. A program of its own, because a client in a scripting language
//! would measure itself. `benches/run.py` starts the servers and calls it; see there for the whole.

mod arguments;
mod big;
mod compare;
mod connection;
mod digest;
mod fixture;
mod list;
mod loopback;
mod process;
mod signer;
mod soak;
mod startup;
mod stock;
mod target;

use std::process::ExitCode;

const USAGE: &str = "\
load compare --target NAME=http://127.0.0.1:PORT[,PID][,dav][,prepared][,keys:ID:SECRET] [--target ..]
             [--size BYTES] [--connections N] [--seconds S] [--rounds N] [--objects N]
             [--operations get,head,put] [--filled yes]
load big     --target NAME=http://127.0.0.1:PORT,PID [--size BYTES]
load startup [--rounds N] -- SERVER [ARGUMENT ..]
load stock   --folder METADATA_FOLDER --bucket NAME --objects N [--size BYTES] [--groups N]
load list    --target .. --bucket NAME [--objects ENTRIES] [--start-after KEY] [--groups 1]
             [--connections N] [--seconds S] [--rounds N]
load soak    --target NAME=http://127.0.0.1:PORT,PID [--connections N] [--seconds S] [--objects N]
             [--seed N]
load md5
load loopback
load fixture [--rounds N] [-- SERVER --fixture --listen 127.0.0.1:0 ..]

compare  GET, HEAD and PUT of objects of one size, every request signed, closed loop. Targets are
         visited in turn, in reversed order every second round; rates are medians of the rounds and
         ratios are to the first target.
big      Uploads and downloads one object, comparing it; prints the peak memory of the server.
startup  Time from starting the server to its first 200, on empty folders that are put in place of
         {dir} among the arguments.
stock    Fills a bucket of a server that does not run; an object of the bucket `bench` is the model.
list     One page of a listing, again and again; it must have --objects entries. With --groups the
         delimiter is /.
soak     Mixed operations, whose answers are all compared; each connection has --objects keys of its own.
         Prints what it took, and fails when anything was wrong or is left over: see soak.rs.
md5      What one core digests.
loopback What a bare exchange over TCP costs.
fixture  What a test suite waits for: an in-process server's start and stop, the ready line of SERVER, a
         reset with 10,000 objects, the memory of 100 in-process servers.

Results are lines of JSON on standard output. Only loopback addresses are accepted.";

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let command = words.next().unwrap_or_default();
    let outcome = arguments::Arguments::parse(words).and_then(|arguments| match command.as_str() {
        "compare" => compare::run(&arguments),
        "big" => big::run(&arguments),
        "startup" => startup::run(&arguments),
        "stock" => stock::run(&arguments),
        "list" => list::run(&arguments),
        "soak" => soak::run(&arguments),
        "md5" => digest::run(),
        "loopback" => loopback::run(),
        "fixture" => fixture::run(&arguments),
        _ => Err(USAGE.to_owned()),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
