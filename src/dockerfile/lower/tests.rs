//! Rules of lowering, each on a Dockerfile of its own.

use super::*;
use crate::diag::{Diagnostic, Source};
use crate::dockerfile::parse;
use crate::graph::{CopyOp, CopySource, MkdirOp, Op, RunMount, RunOp};
use crate::image::config::{Execution, RootFs};

/// A store with two images: `base`, which has a bit of everything, and `trigger` with ONBUILD.
struct Fake;

impl Images for Fake {
    fn find(&self, reference: &str) -> Result<BaseImage, NotFound> {
        let text = |s: &str| s.to_owned();
        let execution = match reference {
            "base" | "base:latest" => Execution {
                env: Some(vec!["PATH=/base/bin".into(), "FROM_BASE=yes".into()]),
                cmd: Some(vec!["base-cmd".into()]),
                entrypoint: Some(vec!["base-entry".into()]),
                working_dir: Some("/srv".into()),
                user: Some("app".into()),
                shell: Some(["/bin/bash", "-c"].map(text).into()),
                ..Execution::default()
            },
            "trigger" => Execution {
                on_build: Some(["COPY --from=tools /t /t", "RUN touch $X"].map(text).into()),
                ..Execution::default()
            },
            _ => return Err(NotFound { reason: "no such image in the store".into(), help: vec!["pull it".into()] }),
        };
        let layer = Digest::of(reference.as_bytes());
        let config = ImageConfig {
            architecture: "amd64".into(),
            os: "linux".into(),
            config: execution,
            created: Some("2020-01-01T00:00:00Z".into()),
            history: vec![History { created_by: Some("base history".into()), ..History::default() }],
            rootfs: RootFs { diff_ids: vec![layer], ..RootFs::default() },
            ..ImageConfig::default()
        };
        Ok(BaseImage { reference: reference.into(), manifest: layer, config })
    }
}

fn options() -> Options {
    let platform = Platform { os: "linux".into(), arch: "amd64".into(), variant: String::new() };
    Options { platform, ..Options::default() }
}

fn with_args(args: &[(&str, &str)]) -> Options {
    let build_args = args.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Options { build_args, ..options() }
}

fn try_lower(text: &str, options: &Options) -> Result<Lowered, Vec<Diagnostic>> {
    let (file, _) = parse(&Source::new("Dockerfile", text))?;
    lower(&file, options, &Fake)
}

#[track_caller]
fn lowered_with(text: &str, options: &Options) -> Lowered {
    match try_lower(text, options) {
        Ok(lowered) => lowered,
        Err(list) => panic!("{text}\n{list:#?}"),
    }
}

#[track_caller]
fn lowered(text: &str) -> Lowered {
    lowered_with(text, &options())
}

/// `code: text of the primary span` of each error.
#[track_caller]
fn faults(text: &str, options: &Options) -> Vec<String> {
    match try_lower(text, options) {
        Ok(_) => panic!("this lowers:\n{text}"),
        Err(list) => list.iter().map(fault).collect(),
    }
}

fn fault(diagnostic: &Diagnostic) -> String {
    let source = diagnostic.source.as_ref().map_or("", |s| s.text());
    let span = diagnostic.labels.first().map(|label| label.span.range());
    format!("{}: {}", diagnostic.code, span.and_then(|range| source.get(range)).unwrap_or_default())
}

fn runs(lowered: &Lowered) -> Vec<&RunOp> {
    let run = |step: &'_ crate::graph::Step| matches!(step.op, Op::Run(_));
    lowered
        .graph
        .steps
        .iter()
        .filter(|step| run(step))
        .filter_map(|step| if let Op::Run(op) = &step.op { Some(op) } else { None })
        .collect()
}

fn copies(lowered: &Lowered) -> Vec<&CopyOp> {
    let ops = lowered.graph.steps.iter();
    ops.filter_map(|step| if let Op::Copy(op) = &step.op { Some(op) } else { None }).collect()
}

fn labels(lowered: &Lowered) -> Vec<&str> {
    lowered.graph.steps.iter().map(|step| step.label.as_str()).collect()
}

fn history(lowered: &Lowered) -> Vec<&str> {
    lowered.history.iter().map(|item| item.created_by.as_str()).collect()
}

/// Every step refers only to steps before it.
fn assert_topological(lowered: &Lowered) {
    for (nth, step) in lowered.graph.steps.iter().enumerate() {
        assert_eq!(step.id.index(), nth);
        assert!(step.inputs().iter().all(|input| *input < step.id), "{step:?}");
    }
}

#[test]
fn only_what_the_target_needs_becomes_steps() {
    let text = "FROM scratch AS a\nCOPY a /a\nFROM scratch AS unused\nCOPY u /u\nFROM base AS m\nRUN m\n\
                FROM scratch\nCOPY --from=A /a /\nCOPY --from=0 /a /b\nRUN --mount=from=m,target=/m x\n";
    let all = lowered(text);
    assert_topological(&all);
    assert_eq!(
        labels(&all),
        [
            "[a 1/2] FROM scratch",
            "[a 2/2] COPY a /a",
            "[m 1/2] FROM base",
            "[m 2/2] RUN m",
            "[stage-3 1/3] COPY --from=A /a /",
            "[stage-3 2/3] COPY --from=0 /a /b",
            "[stage-3 3/3] RUN --mount=from=m,target=/m x",
        ]
    );
    let target = lowered_with(text, &Options { target: Some("UNUSED".into()), ..options() });
    assert_eq!(labels(&target), ["[unused 1/2] FROM scratch", "[unused 2/2] COPY u /u"]);
    let index = lowered_with(text, &Options { target: Some("0".into()), ..options() });
    assert_eq!(index.graph.target, Some(crate::graph::StepId(1)));
}

#[test]
fn stages_that_nothing_needs_are_still_read() {
    let unused = |body: &str| format!("FROM missing AS u\n{body}\nFROM scratch\n");
    assert_eq!(faults(&unused("COPY --chmod=999 a b"), &options()), ["invalid-mode: 999"]);
    assert_eq!(faults(&unused("EXPOSE x"), &options()), ["invalid-port: x"]);
    // What the base image would set is not known.
    lowered(&unused("COPY --chmod=$MODE a b"));
    lowered(&unused("COPY --from=missing-too a b"));
    assert_eq!(lowered("FROM scratch\nEXPOSE $PORT\n").warnings.len(), 1);
}

#[test]
fn from_finds_stages_exactly_and_the_last_of_a_name() {
    let text = "FROM scratch AS x\nCOPY 1 /\nFROM scratch AS x\nCOPY 2 /\nFROM x\n";
    assert_eq!(labels(&lowered(text)), ["[x 1/2] FROM scratch", "[x 2/2] COPY 2 /"]);
    let cases = [
        ("FROM scratch AS Builder\nFROM Builder\n", "stage-name-case: Builder"),
        ("FROM later\nFROM scratch AS later\nFROM scratch\nCOPY --from=0 a b\n", "stage-order: later"),
        ("FROM scratch\nCOPY --from=0 a b\n", "stage-order: 0"),
        ("FROM scratch\nCOPY --from=later a b\nFROM scratch AS later\nCOPY --from=0 a b", "stage-order: later"),
        ("FROM scratch AS build\nFROM scratch\nCOPY --from=biuld a b\n", "image-not-found: biuld"),
        ("FROM scratch AS build\nFROM scratch\nCOPY --from=7 a b\n", "unknown-stage: 7"),
        ("FROM scratch AS build\nFROM scratch\nCOPY --from=$X a b\n", "variable-in-from: $X"),
        ("FROM scratch\nFROM scratch\nRUN --mount=from=0,target=/x y\n", "unknown-stage: 0"),
        ("FROM nothing\n", "image-not-found: nothing"),
        ("FROM $NOTHING\n", "empty-base: $NOTHING"),
    ];
    for (text, want) in cases {
        assert_eq!(faults(text, &options()).first().map(String::as_str), Some(want), "{text}");
    }
    let list = try_lower("FROM scratch AS build\nFROM scratch\nCOPY --from=biuld a b\n", &options()).unwrap_err();
    assert_eq!(list[0].help, ["did you mean `build`?", "pull it"]);
}

#[test]
fn several_mistakes_are_told_at_once_in_the_order_of_the_file() {
    let text = "FROM scratch\nCOPY a b c\nEXPOSE 70000\nENV A=${\nSTOPSIGNAL SIGTREM\nUSER $nobody\n";
    assert_eq!(
        faults(text, &options()).iter().map(|f| f.split(':').next().unwrap_or_default()).collect::<Vec<_>>(),
        ["destination-not-directory", "invalid-port", "bad-expansion", "invalid-signal", "empty-value"]
    );
}

#[test]
fn unknown_targets_are_told_with_a_suggestion() {
    let wanted = Options { target: Some("bulid".into()), ..options() };
    let list = try_lower("FROM scratch AS build\nFROM scratch\n", &wanted).unwrap_err();
    assert_eq!(
        (list[0].code.as_str(), &list[0].help[..]),
        ("unknown-target", &["did you mean `build`?".to_owned()][..])
    );
}

#[test]
fn arguments_follow_their_scopes() {
    // Each: build arguments, text, value of $V as the last LABEL sees it.
    let cases: [(&[(&str, &str)], &str, &str); 14] = [
        (&[], "ARG V=global\nFROM scratch\nLABEL v=$V", ""),
        (&[], "ARG V=global\nFROM scratch\nARG V\nLABEL v=$V", "global"),
        (&[], "ARG V=global\nFROM scratch\nARG V=own\nLABEL v=$V", "own"),
        (&[("V", "given")], "ARG V=global\nFROM scratch\nARG V\nLABEL v=$V", "given"),
        (&[("V", "given")], "FROM scratch\nARG V=own\nLABEL v=$V", "given"),
        (&[("V", "given")], "FROM scratch\nLABEL v=$V", ""),
        (&[], "FROM scratch\nARG V\nLABEL v=${V:-unset}", "unset"),
        (&[], "FROM scratch\nARG A=1 V=$A$A\nLABEL v=$V", "11"),
        (&[], "FROM scratch\nENV V=old\nENV V=new W=$V\nLABEL v=$W", "old"),
        (&[], "FROM scratch AS a\nARG V=1\nFROM a\nLABEL v=$V", "1"),
        (&[], "FROM scratch AS a\nARG V=1\nFROM scratch\nLABEL v=$V", ""),
        (&[], "FROM scratch\nENV V=env\nARG V=arg\nLABEL v=$V", "env"),
        (&[], "FROM scratch\nARG TARGETPLATFORM\nARG V=$TARGETPLATFORM\nLABEL v=$V", "linux/amd64"),
        (
            &[("TARGETARCH", "vax")],
            "FROM scratch AS s\nARG TARGETARCH TARGETSTAGE\nLABEL v=$TARGETARCH-$TARGETSTAGE",
            "vax-s",
        ),
    ];
    for (args, text, want) in cases {
        let lowered = lowered_with(text, &with_args(args));
        let labels = lowered.config.config.labels.unwrap_or_default();
        assert_eq!(labels.get("v").map(String::as_str), Some(want), "{text}");
    }
    let tagged = lowered_with("ARG TAG=none\nFROM base:$TAG\n", &with_args(&[("TAG", "latest")]));
    assert_eq!(labels(&tagged), ["[1/1] FROM base:latest"]);
}

#[test]
fn a_build_argument_that_nobody_declares_is_a_warning() {
    let args = with_args(&[("VERSOIN", "1"), ("http_proxy", "p"), ("SOURCE_DATE_EPOCH", "0"), ("OTHER", "2")]);
    let warnings = lowered_with("FROM scratch\nARG VERSION\nARG OTHER\n", &args).warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(
        (warnings[0].code.as_str(), warnings[0].help[0].as_str()),
        ("unused-build-arg", "did you mean `VERSION`?")
    );
}

#[test]
fn an_arg_that_an_env_hides_is_a_warning() {
    let warnings = lowered("FROM scratch\nENV V=env\nARG V=arg\n").warnings;
    assert_eq!(warnings.iter().map(fault).collect::<Vec<_>>(), ["arg-hidden-by-env: V"]);
    assert!(lowered("FROM scratch\nARG V=1\nENV V=$V\n").warnings.is_empty());
}

#[test]
fn run_sees_env_then_args_and_unkeyed_proxies() {
    let text = "FROM base\nARG A=1\nARG BARE\nENV E=2\nARG FROM_BASE=hidden\nARG NO_PROXY\nRUN x\n";
    let all = lowered_with(text, &with_args(&[("https_proxy", "p"), ("NO_PROXY", "n")]));
    let [run] = runs(&all)[..] else { panic!("{all:?}") };
    assert_eq!(run.env, ["PATH=/base/bin", "FROM_BASE=yes", "E=2", "A=1", "NO_PROXY=n"]);
    assert_eq!(run.env_unkeyed, ["no_proxy=n", "HTTPS_PROXY=p", "https_proxy=p"]);
    assert_eq!((run.user.as_str(), run.workdir.as_str()), ("app", "/srv"));
    assert_eq!(history(&all).last(), Some(&"RUN |4 A=1 BARE= FROM_BASE=yes NO_PROXY=n /bin/bash -c x # buildkit"));
}

#[test]
fn run_takes_its_words_from_shell_and_text() {
    let cases: [(&str, &[&str]); 7] = [
        ("RUN make  $X \\\n  all", &["/bin/sh", "-c", "make  $X   all"]),
        ("RUN [\"make\", \"$X\"]", &["make", "$X"]),
        ("SHELL [\"/bin/bash\", \"-eo\", \"pipefail\", \"-c\"]\nRUN a", &["/bin/bash", "-eo", "pipefail", "-c", "a"]),
        ("RUN <<EOF\na $X\nb\nEOF", &["/bin/sh", "-c", "a $X\nb\n"]),
        ("RUN <<-EOF\n\ta\n\tEOF", &["/bin/sh", "-c", "a\n"]),
        ("RUN cat <<A >x && cat <<'B' >y\n1\nA\n2\nB", &["/bin/sh", "-c", "cat <<A >x && cat <<'B' >y\n1\nA\n2\nB"]),
        ("RUN <<EOF\n#!/usr/bin/env python3\nprint()\nEOF", &["/dev/pipes/EOF"]),
    ];
    for (body, want) in cases {
        let all = lowered(&format!("FROM scratch\n{body}\n"));
        assert_eq!(runs(&all)[0].argv, want, "{body}");
    }
    let script = lowered("FROM scratch\nRUN <<EOF\n#!/bin/x\ny\nEOF\n");
    let script = runs(&script)[0].script.as_ref().expect("a script");
    assert_eq!((script.name.as_str(), script.data.as_str()), ("EOF", "#!/bin/x\ny\n"));
}

#[test]
fn the_network_of_a_run_is_the_builds_or_less() {
    let of = |flag: &str, network| {
        let options = Options { network, ..options() };
        try_lower(&format!("FROM scratch\nRUN {flag} x\n"), &options).map(|all| runs(&all)[0].network)
    };
    assert_eq!(of("", Network::None).ok(), Some(Network::None));
    assert_eq!(of("--network=default", Network::None).ok(), Some(Network::None));
    assert_eq!(of("--network=none", Network::Host).ok(), Some(Network::None));
    assert_eq!(of("--network=host", Network::Host).ok(), Some(Network::Host));
    assert_eq!(
        of("--network=host", Network::None).map_err(|list| fault(&list[0])),
        Err("network-refused: host".into())
    );
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let cases = [
        ("ADD https://example.org/x /x", "add-remote-unsupported"),
        ("ADD git@example.org:x.git /x", "add-remote-unsupported"),
        ("ADD https://example.org/x.git#v1:sub /x", "add-remote-unsupported"),
        ("ADD --checksum=sha256:00 x /x", "add-remote-unsupported"),
        ("RUN --security=insecure x", "security-unsupported"),
        ("RUN --device=vendor.com/gpu=all x", "flag-unsupported"),
        ("RUN --retry=3 x", "flag-unsupported"),
        ("RUN --timeout=3s x", "flag-unsupported"),
        ("COPY https://example.org/x /x", "copy-remote"),
    ];
    for (body, want) in cases {
        let list = try_lower(&format!("FROM scratch\n{body}\n"), &options()).unwrap_err();
        assert_eq!(list[0].code, want, "{body}");
    }
    assert_eq!(faults("FROM --platform=linux/arm64 scratch\n", &options()), ["platform-unsupported: linux/arm64"]);
    for fine in ["# syntax=docker/dockerfile:1\nFROM scratch", "FROM --platform=$BUILDPLATFORM scratch"] {
        lowered(fine);
    }
}

#[test]
fn copy_resolves_its_operands() {
    let text = "FROM base\nENV d=dir\nCOPY --chown=$d --chmod=u=rwX --link --exclude=$x a\\$b $d/*.c .\nCOPY x ../y\n\
                COPY [\"a b\", \"/c d/\"]\nADD --unpack=false x.tar /\n";
    let all = lowered(text);
    let [first, second, third, fourth] = copies(&all)[..] else { panic!("{all:?}") };
    let patterns = |op: &CopyOp| {
        op.sources
            .iter()
            .map(|source| match source {
                CopySource::Context { context: None, pattern } => pattern.clone(),
                other => panic!("{other:?}"),
            })
            .collect::<Vec<_>>()
    };
    assert_eq!((patterns(first), first.dest.as_str()), (vec!["a$b".to_owned(), "dir/*.c".into()], "/srv/"));
    assert_eq!((first.chown.as_deref(), first.chmod.as_deref()), (Some("dir"), Some("u=rwX")));
    assert!(first.link && !first.unpack);
    assert_eq!(first.exclude, ["$x"]);
    assert_eq!((second.dest.as_str(), third.dest.as_str()), ("/y", "/c d/"));
    assert_eq!(patterns(third), ["a b"]);
    assert!(fourth.is_add && !fourth.unpack);
    assert_eq!(
        history(&all)[1..],
        [
            "COPY --chown=dir --chmod=u=rwX a$b dir/*.c . # buildkit",
            "COPY x ../y # buildkit",
            "COPY a b /c d/ # buildkit",
            "ADD x.tar / # buildkit"
        ]
    );
}

#[test]
fn heredocs_of_copy_are_files() {
    let text = "FROM scratch\nENV v=1\nCOPY <<a <<\"b\" c /d/\n\"$v\" \\$v\na\n$v\nb\n";
    let all = lowered(text);
    let sources: Vec<String> = copies(&all)[0].sources.iter().map(|source| format!("{source:?}")).collect();
    assert_eq!(
        sources,
        [
            r#"Inline { name: "a", data: "\"1\" $v\n" }"#,
            r#"Inline { name: "b", data: "$v\n" }"#,
            r#"Context { context: None, pattern: "c" }"#
        ]
    );
}

#[test]
fn workdir_is_a_step_unless_it_is_the_root() {
    let all = lowered("FROM base\nWORKDIR a\nWORKDIR ../b/./c\nWORKDIR /\nRUN x\n");
    let dirs = all.graph.steps.iter().filter_map(|step| match &step.op {
        Op::Mkdir(MkdirOp { path, user, .. }) => Some((path.as_str(), user.as_str())),
        _ => None,
    });
    assert_eq!(dirs.collect::<Vec<_>>(), [("/srv/a", "app"), ("/srv/b/c", "app")]);
    assert_eq!(history(&all)[..3], ["WORKDIR /srv/a", "WORKDIR /srv/b/c", "WORKDIR /"]);
    let layers: Vec<bool> = all.history.iter().map(|item| item.step.is_some()).collect();
    assert_eq!(layers, [true, true, false, true]);
    assert_eq!(runs(&all)[0].workdir, "/");
}

#[test]
fn the_config_is_the_bases_changed_by_each_instruction() {
    let text = "FROM base\nENV A=1 FROM_BASE=no\nLABEL \"a b\"=\"c d\"\nEXPOSE 80 53/udp\nVOLUME /v [x]\nUSER u:g\n\
                STOPSIGNAL SIGINT\nHEALTHCHECK --interval=5s --retries=2 CMD true\nMAINTAINER me\nSHELL [\"/s\"]\n\
                ONBUILD RUN y\n";
    let all = lowered(text);
    let config = &all.config.config;
    let json = serde_json::to_value(config).expect("serialises");
    assert_eq!(
        json,
        serde_json::json!({
            "Env": ["PATH=/base/bin", "FROM_BASE=no", "A=1"],
            "Cmd": ["base-cmd"], "Entrypoint": ["base-entry"], "WorkingDir": "/srv", "User": "u:g",
            "Labels": {"a b": "c d"}, "ExposedPorts": {"80/tcp": {}, "53/udp": {}}, "Volumes": {"/v": {}, "[x]": {}},
            "StopSignal": "SIGINT", "Shell": ["/s"], "OnBuild": ["RUN y"],
            "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 5_000_000_000u64, "Retries": 2},
        })
    );
    assert_eq!(all.config.author.as_deref(), Some("me"));
    assert_eq!((all.config.created.as_ref(), all.base_history.len()), (None, 1));
    assert_eq!(
        history(&all),
        [
            "ENV A=1 FROM_BASE=no",
            "LABEL a b=c d",
            "EXPOSE map[53/udp:{} 80/tcp:{}]",
            "VOLUME [/v [x]]",
            "USER u:g",
            "STOPSIGNAL SIGINT",
            "HEALTHCHECK --interval=5s --retries=2 CMD true",
            "MAINTAINER me",
            "SHELL [/s]",
            "ONBUILD RUN y"
        ]
    );
    assert!(all.history.iter().all(|item| item.step.is_none()));
}

#[test]
fn scratch_has_a_path_and_a_workdir() {
    let config = lowered("FROM scratch\n").config;
    assert_eq!(config.config.env, Some(vec![format!("PATH={}", state::DEFAULT_PATH)]));
    assert_eq!((config.config.working_dir.as_deref(), config.os.as_str()), (Some("/"), "linux"));
}

#[test]
fn entrypoint_resets_an_inherited_cmd_only() {
    let words = |list: &[&str]| Some(list.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
    let cases = [
        ("FROM base\nENTRYPOINT [\"e\"]", words(&["e"]), None),
        ("FROM base\nCMD [\"c\"]\nENTRYPOINT [\"e\"]", words(&["e"]), words(&["c"])),
        ("FROM base AS a\nCMD [\"c\"]\nFROM a\nENTRYPOINT e", words(&["/bin/bash", "-c", "e"]), None),
        ("FROM base\nENTRYPOINT []\nCMD []", None, None),
        ("FROM base\nCMD c", words(&["base-entry"]), words(&["/bin/bash", "-c", "c"])),
    ];
    for (text, entrypoint, cmd) in cases {
        let config = lowered(text).config.config;
        assert_eq!((config.entrypoint, config.cmd), (entrypoint, cmd), "{text}");
    }
    let all = lowered("FROM scratch\nCMD [\"a\", \"b c\"]\n");
    assert_eq!(history(&all), ["CMD [\"a\" \"b c\"]"]);
}

#[test]
fn triggers_run_right_after_from_and_are_spent() {
    let text = "FROM scratch AS tools\nCOPY t /t\nFROM trigger AS child\nRUN own\nFROM child\nRUN last\n";
    let all = lowered(text);
    assert_topological(&all);
    assert_eq!(
        labels(&all),
        [
            "[tools 1/2] FROM scratch",
            "[tools 2/2] COPY t /t",
            "[child 1/4] FROM trigger",
            "[child 2/4] COPY --from=tools /t /t",
            "[child 3/4] RUN touch $X",
            "[child 4/4] RUN own",
            "[stage-2 1/1] RUN last",
        ]
    );
    assert_eq!(all.config.config.on_build, None);
    // A trigger's own text is not in the Dockerfile: its step stands at the FROM.
    let from = all.graph.steps[3].span.expect("a span");
    assert_eq!(&text[from.range()], "FROM trigger AS child");
    let list = try_lower("FROM trigger\n", &options()).unwrap_err();
    assert_eq!(fault(&list[0]), "image-not-found: tools");
    assert!(list[0].notes.iter().any(|note| note.contains("ONBUILD trigger of base image")), "{list:?}");

    let own = lowered("FROM scratch AS a\nONBUILD RUN x\nFROM a AS b\nFROM b\nRUN y\n");
    assert_eq!(labels(&own)[1..], ["[b 1/1] RUN x", "[stage-2 1/1] RUN y"]);
}

#[test]
fn named_contexts_stand_for_stages_and_images() {
    let context = |name: &str, target| NamedContext { name: name.into(), target };
    let contexts = vec![
        context("host", ContextTarget::Directory),
        context("build", ContextTarget::Directory),
        context("debian", ContextTarget::Image("base".into())),
    ];
    let options = Options { contexts, ..options() };
    let text = "FROM missing AS build\nRUN skipped\nFROM debian:latest\nCOPY --from=host /bin/sh /\n\
                COPY --from=build /x /\nRUN --mount=from=debian,source=/etc,target=/e x\n";
    let all = lowered_with(text, &options);
    let debug = |nth: usize| format!("{:?}", copies(&all)[nth].sources);
    assert_eq!(debug(0), "[Context { context: Some(\"host\"), pattern: \"/bin/sh\" }]");
    assert_eq!(debug(1), "[Context { context: Some(\"build\"), pattern: \"/x\" }]");
    assert!(labels(&all).iter().all(|label| !label.contains("skipped")));
    assert!(labels(&all).contains(&"[stage-1 1/4] FROM base"), "{:?}", labels(&all));
    assert!(format!("{:?}", runs(&all)[0].mounts).contains("pattern: \"/etc\""));

    let root = lowered_with("FROM host\nRUN x\n", &options);
    assert_eq!(labels(&root), ["[1/3] FROM scratch", "[2/3] FROM context host", "[3/3] RUN x"]);
    assert_eq!(copies(&root)[0].dest, "/");
}

#[test]
fn mounts_are_resolved() {
    let text = "FROM scratch AS s\nFROM base\nARG id=i\n\
                RUN --mount=type=bind,target=t,source=x,rw --mount=from=s,dst=/s \\\n\
                --mount=type=cache,target=/c/,sharing=locked,mode=700,uid=1 --mount=type=tmpfs,target=/t,size=1m \\\n\
                --mount=type=secret,id=$id,required --mount=type=secret,id=a/b,env=TOKEN --mount=type=ssh x\n";
    let all = lowered(text);
    let mounts: Vec<String> = runs(&all)[0].mounts.iter().map(|mount| format!("{mount:?}")).collect();
    let want = [
        r#"Bind { target: "/srv/t", source: Context { context: None, pattern: "x" }, writable: true }"#,
        r#"Bind { target: "/s", source: Step { step: StepId(0), pattern: "/" }, writable: false }"#,
        "Cache { target: \"/c\", id: \"/c\", sharing: \"locked\", from: None, mode: 448, uid: Some(1), gid: None, \
         readonly: false }",
        r#"Tmpfs { target: "/t", size: Some(1048576) }"#,
        "Secret { id: \"i\", target: Some(\"/run/secrets/i\"), env: None, required: true, mode: 256, uid: 0, gid: 0 }",
        "Secret { id: \"a/b\", target: None, env: Some(\"TOKEN\"), required: false, mode: 256, uid: 0, gid: 0 }",
        "Ssh { id: \"default\", target: \"/run/buildkit/ssh_agent.0\", required: false, mode: 384, uid: 0, gid: 0 }",
    ];
    assert_eq!(mounts, want);
    assert!(matches!(runs(&all)[0].mounts[0], RunMount::Bind { .. }));
    let cases = [
        ("type=chache,target=/x", "unknown-mount-type"),
        ("target=/x,tagret=/y", "unknown-mount-option"),
        ("type=tmpfs,target=/x,source=/y", "unknown-mount-option"),
        ("type=cache", "invalid-mount"),
        ("target=/", "invalid-mount"),
        ("target=/x/..", "invalid-mount"),
        ("type=cache,target=/c,sharing=all", "invalid-mount"),
        ("type=cache,target=/c,mode=9", "invalid-mount"),
        ("target", "invalid-mount"),
        ("from=nosuch,target=/x", "image-not-found"),
    ];
    for (mount, want) in cases {
        let list = try_lower(&format!("FROM scratch\nRUN --mount={mount} x\n"), &options()).unwrap_err();
        assert_eq!(list[0].code, want, "{mount}");
    }
}

#[test]
fn an_image_is_one_step_for_all_its_uses() {
    let all = lowered("FROM base AS a\nRUN a\nFROM base\nCOPY --from=base /x /\nCOPY --from=a /y /\n");
    let images = all.graph.steps.iter().filter(|step| matches!(step.op, Op::Image(_))).count();
    assert_eq!(images, 1);
    assert_topological(&all);
}

#[test]
fn labels_of_the_command_line_come_last() {
    let given = [("a".to_owned(), "cli".to_owned())].into();
    let all = lowered_with("FROM scratch\nLABEL a=file b=file\n", &Options { labels: given, ..options() });
    let labels = all.config.config.labels.unwrap_or_default();
    assert_eq!((labels["a"].as_str(), labels["b"].as_str()), ("cli", "file"));
}
