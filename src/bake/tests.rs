//! Definitions as a whole: what expressions give, and what bounds them. What targets come to is held against buildx in
//! `golden-tests/bake/`.

use super::*;

fn surroundings() -> Surroundings {
    Surroundings { platform: "linux/amd64".to_owned(), ..Surroundings::default() }
}

fn defined(name: &str, text: &str) -> Result<Config> {
    load(&[files::source(name, text.as_bytes().to_vec())?], &surroundings(), &mut Vec::new())
}

fn resolved(text: &str, wanted: &str) -> Result<Definition> {
    resolve(&defined("x.hcl", text)?, &[wanted.to_owned()], &[], &surroundings())
}

/// The value of an expression, as JSON.
fn value(expression: &str) -> Result<String> {
    let config = defined("x.hcl", &format!("variable \"x\" {{ default = jsonencode({expression}) }}"))?;
    Ok(shown(&config.variables[0].value).unwrap_or_default())
}

#[test]
fn expressions_follow_hcl() {
    let cases = [
        ("1 + 2 * 3 - -1", "8"),
        ("(1 + 2) * 3 % 4", "1"),
        ("!true || 1 < 2 && 2 <= 2", "true"),
        ("\"1\" == 1", "false"),
        ("true ? \"a\" : 1", "\"a\""),
        ("false ? \"a\" : 1", "\"1\""),
        ("\"a${1}b${true}\"", "\"a1btrue\""),
        ("\"${[1]}\"", "[1]"),
        ("{ a = 1, \"b\" : 2 }", "{\"a\":1,\"b\":2}"),
        ("[for k, v in { a = 1, b = 2 } : \"${k}${v}\" if v > 1]", "[\"b2\"]"),
        ("{ for s in [\"x\", \"y\"] : s => upper(s) }", "{\"x\":\"X\",\"y\":\"Y\"}"),
        ("[{ a = { b = 1 } }, { a = { b = 2 } }][*].a.b", "[1,2]"),
        ("null[*]", "[]"),
        ("try(nothing, [][0], \"else\")", "\"else\""),
        ("can({}.a)", "false"),
        ("convert([\"1\", 2], list(number))", "[1,2]"),
        ("convert({ a = 1 }, object({ a = string, b = optional(number) }))", "{\"a\":\"1\",\"b\":null}"),
        (
            "format(\"%03d|%-4s|%x|%.1f|%q|%v\", -7, \"é\", 255, 0.25, \"a\\\"b\", [1])",
            "\"-07|é   |ff|0.2|\\\"a\\\\\\\"b\\\"|[1]\"",
        ),
    ];
    for (expression, want) in cases {
        assert_eq!(value(expression).as_deref().map_err(|fault| fault.message.as_str()), Ok(want), "{expression}");
    }
}

#[test]
fn what_has_no_value_is_told() {
    let cases = [
        ("1 / 0", "bake-value"),
        ("[1][1]", "bake-value"),
        ("{ a = 1 }.b", "bake-value"),
        ("\"${null}x\"", "bake-type"),
        ("\"a\" + 1", "bake-type"),
        ("{ for s in [1, 1] : s => s }", "bake-value"),
        ("lower()", "bake-call"),
        ("parseint(\"x\", 10)", "bake-call"),
        ("regex(\"(\", \"\")", "bake-call"),
        ("format(\"%d\")", "bake-call"),
        ("format(\"%99999d\", 1)", "bake-call"),
        ("range(1, 0, 1)", "bake-call"),
        ("target", "bake-unknown-variable"),
        ("target.nothing.tags", "bake-unknown-target"),
    ];
    for (expression, code) in cases {
        let outcome = value(expression).map_err(|fault| fault.code);
        assert_eq!(outcome, Err(code.to_owned()), "{expression}");
    }
}

#[test]
fn what_grows_without_end_is_stopped() {
    let chain = |first: &str, next: &str| {
        let mut text = format!("variable \"v000\" {{ default = {first} }}\n");
        for n in 1..1000 {
            let last = format!("v{:03}", n - 1);
            text.push_str(&format!("variable \"v{n:03}\" {{ default = {} }}\n", next.replace('@', &last)));
        }
        text
    };
    let cases = [
        chain("\"xxxxxxxx\"", "\"${@}${@}\""),
        chain("[1]", "[@]"),
        chain("[1]", "concat(@, @)"),
        "x = [for a in range(1000) : [for b in range(1000) : [for c in range(1000) : 0]]]".to_owned(),
        "x = \"%{ for a in range(1000) }%{ for b in range(1000) }%{ for c in range(1000) }%{ endfor }%{ endfor }%{ endfor }\""
            .to_owned(),
        "x = replace(join(\"\", formatlist(\"%1000s\", range(1000))), \" \", join(\"\", formatlist(\"%1000s\", range(1000))))"
            .to_owned(),
        "function \"f\" {\n  params = [n]\n  result = [g(n), g(n)]\n}\nfunction \"g\" {\n  params = [n]\n  result = f(n)\n}\nx = f(1)".to_owned(),
        "target \"a\" {\n  name = \"a-${x}-${y}\"\n  matrix = { x = range(1000), y = range(1000) }\n}".to_owned(),
        format!("x = {}", "(".repeat(10_000)),
        format!("x = {}1", "!".repeat(10_000)),
        format!("x = 1{}", " + 1".repeat(10_000)),
        format!("x = 1{}", " ? 1 : 1".repeat(10_000)),
        format!("x = \"{}", "${\"".repeat(10_000)),
        format!("a {}", "{\na ".repeat(10_000)),
    ];
    for text in cases {
        let outcome = defined("x.hcl", &text).map(drop).map_err(|fault| fault.severity);
        let shown: String = text.chars().take(100).collect();
        assert_eq!(outcome, Err(crate::diag::Severity::Error), "{shown}");
    }
}

#[test]
fn diamonds_of_groups_and_contexts_are_gone_through_once() {
    let mut text = String::new();
    for n in 0..60 {
        let next = n + 1;
        text.push_str(&format!("group \"g{n}\" {{ targets = [\"g{next}\", \"h{n}\"] }}\n"));
        text.push_str(&format!("group \"h{n}\" {{ targets = [\"g{next}\"] }}\n"));
        text.push_str(&format!(
            "target \"t{n}\" {{\n  contexts = {{ a = \"target:t{next}\", b = \"target:s{n}\" }}\n  inherits = [\"s{n}\", \"_\"]\n}}\n"
        ));
        text.push_str(&format!("target \"s{n}\" {{\n  contexts = {{ a = \"target:t{next}\" }}\n}}\n"));
    }
    text.push_str("group \"g60\" { targets = [\"t0\"] }\ntarget \"t60\" {}\ntarget \"_\" {}\n");
    let definition = resolved(&text, "g0").unwrap_or_else(|fault| panic!("{}", fault.message));
    assert_eq!(definition.targets.len(), 121);
    let order = definition.order();
    let place = |name: &str| order.iter().position(|other| *other == name);
    assert!(place("t60") < place("s59") && place("s59") < place("t59") && place("t1") < place("t0"));
}

#[test]
fn a_group_may_have_the_name_of_a_target_in_it() {
    let text = "group \"app\" { targets = [\"app\", \"db\"] }\ntarget \"app\" {}\ntarget \"db\" {}\n";
    let definition = resolved(text, "app").unwrap_or_else(|fault| panic!("{}", fault.message));
    assert_eq!(definition.targets.keys().collect::<Vec<_>>(), ["app", "db"]);
}

#[test]
fn services_extend_each_other_within_bounds() {
    let base =
        "services:\n  a: {extends: b, build: {args: {X: a}}}\n  b: {image: b, build: {context: b, args: [X=b, Y=b]}}\n";
    let config = defined("compose.yaml", base).unwrap_or_else(|fault| panic!("{}", fault.message));
    let a = &config.targets["a"];
    assert_eq!((a.context.as_deref(), a.tags.as_deref()), (Some("b"), Some(&["b".to_owned()][..])));
    assert_eq!((a.args["X"].as_deref(), a.args["Y"].as_deref()), (Some("a"), Some("b")));
    for bad in
        ["a: {extends: b}\n  b: {extends: a}", "a: {extends: {service: x}}", "a: {extends: {file: x, service: x}}"]
    {
        assert!(defined("compose.yaml", &format!("services:\n  {bad}\n")).is_err(), "{bad}");
    }
}
