use super::*;
use crate::base::Digest;
use crate::dockerfile::lower;
use crate::dockerfile::lower::{BaseImage, Images, NotFound, Options};
use crate::image::{ImageConfig, Platform};
use proptest::prelude::*;
use serde_json::Value;

struct Any;

impl Images for Any {
    fn find(&self, reference: &str, _platform: &Platform) -> Result<BaseImage, NotFound> {
        let config =
            ImageConfig { os: "linux".into(), architecture: std::env::consts::ARCH.into(), ..ImageConfig::default() };
        Ok(BaseImage { reference: reference.into(), manifest: Digest::of(b""), config })
    }
}

fn formatted(text: &str) -> String {
    format(&Source::new("Dockerfile", text)).unwrap_or_else(|errors| panic!("{text}\n{errors:#?}"))
}

/// Graph, config and history without places; or the codes of what is wrong.
fn meaning(text: &str) -> Result<(Value, String, String), Vec<String>> {
    let (file, _) = parse(&Source::new("Dockerfile", text)).map_err(codes)?;
    let lowered = lower(&file, &Options::default(), &Any).map_err(codes)?;
    let mut graph = serde_json::to_value(&lowered.graph).expect("a graph is plain data");
    without_places(&mut graph);
    Ok((graph, format!("{:?}", lowered.image.config), format!("{:?}", lowered.image.history)))
}

fn codes(errors: Vec<Diagnostic>) -> Vec<String> {
    errors.into_iter().map(|error| error.code).collect()
}

fn without_places(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.remove("span");
            map.values_mut().for_each(without_places);
        }
        Value::Array(list) => list.iter_mut().for_each(without_places),
        _ => {}
    }
}

/// Formatting says the same, and is done after once.
fn assert_same(text: &str) {
    let once = formatted(text);
    assert_eq!(meaning(&once), meaning(text), "{text:?}\n{once:?}");
    assert_eq!(formatted(&once), once, "{text:?}");
}

#[test]
fn texts_are_formatted_by_the_rules() {
    let cases = [
        ("from a as b\nrun  x\n", "FROM a AS b\nRUN x\n"),
        ("FROM a\n\n\n\nRUN x  \n\n\n", "FROM a\n\nRUN x\n"),
        ("FROM a\nRUN x\nFROM b", "FROM a\nRUN x\n\nFROM b\n"),
        ("FROM a\n# one\n# two\nFROM b\n", "FROM a\n\n# one\n# two\nFROM b\n"),
        ("FROM a\n# one\n\n# two\nFROM b\n", "FROM a\n# one\n\n# two\nFROM b\n"),
        ("# syntax=docker/dockerfile:1  \nFROM a\n", "# syntax=docker/dockerfile:1\n\nFROM a\n"),
        ("\n\n# hello\nFROM a\n", "# hello\nFROM a\n"),
        ("\n\n# escape=`\nFROM a\n", "\n# escape=`\nFROM a\n"),
        ("FROM a\nENV x=1 \\\n  y=2 \\\n\n # z\n\tz=3\n", "FROM a\nENV x=1 \\\n    y=2 \\\n # z\n    z=3\n"),
        ("FROM a\nENV x=1\\\n2\n", "FROM a\nENV x=1\\\n2\n"),
        ("FROM a\nENV x=\"1 \\\n  2\"\n", "FROM a\nENV x=\"1 \\\n  2\"\n"),
        ("FROM a\nrun x \\  \n  && y\n", "FROM a\nRUN x \\\n  && y\n"),
        ("FROM a\nrun <<E\n  x  \n\n\n  from y\nE\n\n\nrun y\n", "FROM a\nRUN <<E\n  x  \n\n\n  from y\nE\n\nRUN y\n"),
        ("FROM a\r\nRUN <<E\r\nx\r\nE\r\n", "FROM a\nRUN <<E\nx\nE\n"),
        ("\u{feff}FROM a", "FROM a\n"),
        ("FROM a\nonbuild  run x\n", "FROM a\nONBUILD run x\n"),
        ("FROM a\nCMD [ \"x\", \\\n \"y\" ]\n", "FROM a\nCMD [ \"x\", \\\n    \"y\" ]\n"),
    ];
    for (text, want) in cases {
        assert_eq!(formatted(text), want, "{text:?}");
        assert_same(text);
    }
}

#[test]
fn every_golden_dockerfile_means_the_same_afterwards() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for entry in
        walkdir::WalkDir::new(root.join("golden-tests")).into_iter().chain(walkdir::WalkDir::new(root.join("examples")))
    {
        let entry = entry.expect("an entry");
        if !entry.file_name().to_string_lossy().starts_with("Dockerfile") {
            continue;
        }
        let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
        if parse(&Source::new("Dockerfile", text.as_str())).is_ok() {
            assert_same(&text);
            count += 1;
        }
    }
    assert!(count > 30, "only {count} files");
}

/// Pieces of which most rows are valid files.
const PIECES: &[&str] = &[
    "\nFROM a\n",
    "\nfrom b as c\n",
    "\n  From --platform=$TARGETPLATFORM x \\\n As y\n",
    "\n# comment\n",
    "\n#check=skip=all\n",
    "\n\n\n",
    "\nrun a   b \\\n\n   # c\n\tc\n",
    "\nRUN <<-E cat\n\t x \n\n\tE\n",
    "\nrun a && \\\nb  \n",
    "\ncopy <<A <<\"B\" /x/\n  a\nA\nb\\\nB\n",
    "\nenv a=1 \\\n b=\"2 \\\n 3\" c='\\\n'\n",
    "\nenv a b  \\\n  c \n",
    "\nlabel  x=y\\\n  z=w\n",
    "\nARG A=1 \\\n  B\n",
    "\nexpose 80 \\\n 81\n",
    "\ncmd [\"a\", \\\n  \"b\"]\n",
    "\ncmd a  \\\n  b\n",
    "\nhealthcheck --interval=5s \\\n  cmd a\n",
    "\nonbuild copy a \\\n    /b\n",
    "\nvolume /a \\\n /b\n",
    "\nworkdir /a\\\n  b\n",
    "\nuser x \n",
    "\\\n",
    "\\\\ \n",
    "\\\\\\ \n",
    "  \n",
    "x ",
    "\t",
    "\r\n",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]
    #[test]
    fn generated_files_mean_the_same_afterwards(
        top in prop::sample::select(&["", "# escape=`\n", "\n# escape=`\n", "#syntax=docker/dockerfile\n#x\n", "\u{feff}\n\n"][..]),
        pieces in prop::collection::vec(prop::sample::select(PIECES), 0..12),
    ) {
        let text = format!("{top}FROM s{}", pieces.concat());
        if parse(&Source::new("Dockerfile", text.as_str())).is_ok() {
            assert_same(&text);
        }
    }
}
