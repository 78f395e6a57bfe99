//! Golden-file tests: every folder below `golden-tests/cases/` is a transcript of commands and what they print, and the
//! other suites run real builds, containers, kills and examples. See CONTRIBUTING.md for how to add a case.
//!
//! `GOLDEN=overwrite` rewrites the expected files. `RBUILD_TEST_REQUIRE=all` turns every skip into a failure.

mod attest;
mod bake;
mod cache;
mod concurrency;
mod conformance;
mod containers;
mod damage;
mod env;
mod examples;
mod fuzz;
mod lock;
mod mounts;
mod platforms;
mod registry;
mod remote;
mod s3;
mod sandbox;
mod server;
mod tidy;
mod transcript;
mod why;

use libtest_mimic::{Arguments, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let mut trials: Vec<Trial> = Vec::new();
    trials.extend(transcript::trials());
    trials.extend(bake::trials());
    trials.extend(fuzz::trials());
    trials.extend(tidy::trials());
    trials.extend(sandbox::trials());
    trials.extend(registry::trials());
    trials.extend(lock::trials());
    trials.extend(s3::trials());
    trials.extend(attest::trials());
    trials.extend(cache::trials());
    trials.extend(containers::trials());
    trials.extend(mounts::trials());
    trials.extend(platforms::trials());
    trials.extend(remote::trials());
    trials.extend(concurrency::trials());
    trials.extend(conformance::trials());
    trials.extend(damage::trials());
    trials.extend(examples::trials());
    trials.extend(why::trials());
    libtest_mimic::run(&arguments, trials).exit();
}
