//! Rules of lowering, each on a Dockerfile of its own: stages, scopes, references; below, the instructions.

mod instructions;

use super::*;
use crate::diag::{Diagnostic, Source};
use crate::dockerfile::parse;
use crate::graph::{CopyOp, CopySource, MkdirOp, Op, Remote, RunMount, RunOp};
use crate::image::config::{Execution, RootFs};

/// A store with two images: `base`, which has a bit of everything, and `trigger` with ONBUILD.
struct Fake;

impl Images for Fake {
    fn find(&self, reference: &str, _platform: &Platform) -> Result<BaseImage, NotFound> {
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
            _ => {
                return Err(NotFound {
                    reason: "no such image in the store".into(),
                    help: vec!["pull it".into()],
                    ..NotFound::default()
                });
            }
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
        .filter_map(|step| if let Op::Run(op) = &step.op { Some(&**op) } else { None })
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
    lowered.image.history.iter().map(|item| item.created_by.as_str()).collect()
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
    assert_eq!(index.graph.targets, [crate::graph::StepId(1)]);
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
    let text = "FROM scratch\nCOPY --chmod=9 a b\nEXPOSE 70000\nENV A=${\nSTOPSIGNAL SIGTREM\nUSER $nobody\n";
    assert_eq!(
        faults(text, &options()).iter().map(|f| f.split(':').next().unwrap_or_default()).collect::<Vec<_>>(),
        ["invalid-mode", "invalid-port", "bad-expansion", "invalid-signal", "empty-user"]
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
    /// Build arguments, text, value of the label `v`.
    type Case = (&'static [(&'static str, &'static str)], &'static str, &'static str);
    let cases: [Case; 14] = [
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
        let labels = lowered.image.config.config.labels.unwrap_or_default();
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
    assert_eq!(all.image.config.config.on_build, None);
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
        context("host", ContextTarget::Directory(ContextId(0))),
        context("build", ContextTarget::Directory(ContextId(1))),
        context("debian", ContextTarget::Image("base".into())),
    ];
    let options = Options { contexts, ..options() };
    let text = "FROM missing AS build\nRUN skipped\nFROM debian:latest\nCOPY --from=host /bin/sh /\n\
                COPY --from=build /x /\nRUN --mount=from=debian,source=/etc,target=/e x\n";
    let all = lowered_with(text, &options);
    let debug = |nth: usize| format!("{:?}", copies(&all)[nth].sources);
    assert_eq!(debug(0), "[Context { context: Some(ContextId(0)), pattern: \"/bin/sh\" }]");
    assert_eq!(debug(1), "[Context { context: Some(ContextId(1)), pattern: \"/x\" }]");
    assert!(labels(&all).iter().all(|label| !label.contains("skipped")));
    assert!(labels(&all).contains(&"[stage-1 1/4] FROM base"), "{:?}", labels(&all));
    assert!(format!("{:?}", runs(&all)[0].mounts).contains("pattern: \"/etc\""));

    let root = lowered_with("FROM host\nRUN x\n", &options);
    assert_eq!(labels(&root), ["[1/3] FROM scratch", "[2/3] FROM context host", "[3/3] RUN x"]);
    assert_eq!(copies(&root)[0].dest, "/");
}

#[test]
fn a_context_that_is_another_target_gives_its_files_and_its_config() {
    let ops = lowered("FROM base\nENV OPS=1\nONBUILD RUN triggered\nRUN make\n");
    let contexts = vec![
        NamedContext { name: "ops".into(), target: ContextTarget::Target(0) },
        NamedContext { name: "tools".into(), target: ContextTarget::Target(0) },
    ];
    let given = Options { contexts, graph: ops.graph.clone(), others: vec![vec![ops.image]], ..options() };
    let site =
        lowered_with("FROM ops AS site\nCOPY --from=tools /bin /bin\nRUN --mount=from=ops,target=/o $OPS\n", &given);
    assert_topological(&site);
    assert_eq!(
        labels(&site),
        [
            "[1/2] FROM base",
            "[2/2] RUN make",
            "[site 1/3] RUN triggered",
            "[site 2/3] COPY --from=tools /bin /bin",
            "[site 3/3] RUN --mount=from=ops,target=/o $OPS",
        ]
    );
    let make = crate::graph::StepId(1);
    assert_eq!(site.graph.step(crate::graph::StepId(2)).base(), Some(make));
    assert!(matches!(copies(&site)[0].sources[..], [CopySource::Step { step, .. }] if step == make));
    assert!(runs(&site)[2].env.contains(&"OPS=1".to_owned()));
    assert_eq!(site.image.config.config.on_build, None);
    assert_eq!(site.image.history.iter().filter_map(|item| item.step).count(), 4, "its layers and their history");
    assert_eq!(site.graph.targets.len(), 2);

    let arm = Platform { arch: "arm64".into(), ..given.platform.clone() };
    let list = try_lower("FROM ops\n", &Options { platform: arm, ..given }).unwrap_err();
    assert_eq!(fault(&list[0]), "target-platform: ops");
    assert_eq!(list[0].notes, ["it is built for: linux/amd64"]);
}

#[test]
fn a_stage_is_for_the_platform_that_it_says_or_that_of_its_base() {
    let text = "FROM --platform=$BUILDPLATFORM scratch AS tools\nARG TARGETARCH\nRUN cc $TARGETARCH\nFROM tools AS same\n\
                RUN y\nFROM --platform=linux/riscv64 scratch AS other\nRUN z\nFROM scratch\nCOPY --from=same / /\n\
                COPY --from=other / /o\nARG TARGETPLATFORM BUILDPLATFORM\nENV P=$TARGETPLATFORM,$BUILDPLATFORM\nRUN w\n";
    let host = options().platform;
    let arm = Platform { arch: "arm64".into(), ..host.clone() };
    let all = lowered_with(text, &Options { platform: arm.clone(), build_platform: host, ..options() });
    let platforms: Vec<String> = runs(&all).iter().map(|run| run.platform.to_string()).collect();
    assert_eq!(platforms, ["linux/amd64", "linux/amd64", "linux/riscv64", "linux/arm64"]);
    assert!(runs(&all)[0].env.contains(&"TARGETARCH=arm64".to_owned()), "{:?}", runs(&all)[0].env);
    assert!(runs(&all)[3].env.contains(&"P=linux/arm64,linux/amd64".to_owned()));
    assert_eq!((all.image.config.architecture.as_str(), all.image.platform), ("arm64", arm));

    // What an image says of itself counts.
    let amd64 = lowered_with("FROM --platform=linux/s390x base\nRUN x\n", &options());
    assert_eq!(runs(&amd64)[0].platform.to_string(), "linux/amd64");
    let list = faults("FROM --platform=$NO scratch\n", &options());
    assert_eq!(list, ["invalid-platform: $NO"]);
    assert_eq!(faults("FROM --platform=vax scratch\n", &options()), ["invalid-platform: vax"]);
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
    let labels = all.image.config.config.labels.unwrap_or_default();
    assert_eq!((labels["a"].as_str(), labels["b"].as_str()), ("cli", "file"));
}

proptest::proptest! {
    /// Whatever stands in a file: it lowers to a graph in order, or it is refused with a reason.
    #[test]
    fn any_soup_of_words_lowers_or_is_refused(
        words in proptest::collection::vec(proptest::sample::select(SOUP), 1..60),
    ) {
        let text = format!("FROM scratch AS s\n{}", words.concat());
        match try_lower(&text, &with_args(&[("A", "é$"), ("http_proxy", "")])) {
            Ok(lowered) => assert_topological(&lowered),
            Err(list) => assert!(list.iter().any(Diagnostic::is_error), "{text}"),
        }
        if let Ok((file, _)) = parse(&Source::new("Dockerfile", text)) {
            use crate::dockerfile::check::{Depth, check};
            check(&file, &options(), &Fake, None, Depth::All);
        }
    }
}

/// Words that mean something somewhere.
const SOUP: &[&str] = &[
    "\nFROM s AS t\n",
    "\nFROM base\n",
    "\nFROM trigger AS tools\n",
    "\nFROM ${A}\n",
    "\nRUN ",
    "\nCOPY ",
    "\nADD ",
    "\nENV ",
    "\nARG ",
    "\nARG A B=$A\n",
    "\nLABEL ",
    "\nEXPOSE ",
    "\nUSER ",
    "\nWORKDIR ",
    "\nVOLUME ",
    "\nCMD ",
    "\nONBUILD RUN x\n",
    "\nSTOPSIGNAL ",
    "\nHEALTHCHECK CMD x\n",
    "\nSHELL [\"a\"]\n",
    "--from=s ",
    "--from=1 ",
    "--from=$A ",
    "--mount=type=cache,target=",
    "--mount=from=t,target=/x ",
    "--mount=\"a\" ",
    "--chmod=u+",
    "--chown=é ",
    "--link ",
    "--network=none ",
    "a ",
    "é ",
    "/ ",
    "../.. ",
    "$A ",
    "${A:-é}",
    "${A%é}",
    "\"",
    "'",
    "\\",
    " ",
    "\n",
    "80-",
    "90 ",
    "/udp ",
    "A=",
    ",",
    "=",
    "<<E ",
    "\nE\n",
    "[\"a\", ",
    "\"b\"]",
    "#",
    "\t",
];
