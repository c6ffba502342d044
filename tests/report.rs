//! Reports are text: each scenario is rendered in every format and held against a file.
//!
//! `PIPE_BLESS=1 cargo test --test report` writes the files anew.

use std::path::Path;

use pipe::measure::{Comparison, Outcome};
use pipe::report::{csv, graph, html, json, markdown, terminal};

#[path = "report/fixture.rs"]
mod fixture;
#[path = "report/schema.rs"]
mod schema;

use fixture::{Scenario, comparison, comparison_forced, comparison_with};

const SCENARIOS: [(Scenario, &str); 4] = [
    (Scenario::Plain, "plain"),
    (Scenario::Troubled, "troubled"),
    (Scenario::NoDocker, "no-docker"),
    (Scenario::Inference, "inference"),
];

/// Renders each scenario twice, from sessions made anew, and holds the text against `tests/report/NAME.EXT`.
#[expect(clippy::disallowed_methods, reason = "a test asks whether to write its expected files anew")]
fn check(extension: &str, render: impl Fn(&Comparison) -> String) {
    for (scenario, name) in SCENARIOS {
        let text = render(&comparison(scenario));
        assert!(text == render(&comparison(scenario)), "{name}.{extension}: the second rendering differs");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/report/{name}.{extension}"));
        if std::env::var_os("PIPE_BLESS").is_some() {
            std::fs::write(&path, &text).expect("the expected file can be written");
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(expected == text, "{name}.{extension} differs; PIPE_BLESS=1 writes it anew. Now it is:\n{text}");
    }
}

#[test]
fn terminal_tables_fit_100_columns() {
    check("txt", |comparison| {
        let text = terminal::render(comparison, terminal::Style::default());
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "wider than 100 columns: {line}");
        }
        text
    });
}

#[test]
fn colour_only_adds_codes() {
    let comparison = comparison(Scenario::Troubled);
    let plain = terminal::render(&comparison, terminal::Style::default());
    let coloured = terminal::render(&comparison, terminal::Style { colour: true, width: 100 });
    assert!(coloured.contains("\x1b["));
    let mut stripped = String::new();
    for (i, piece) in coloured.split("\x1b[").enumerate() {
        let rest = if i == 0 { piece } else { piece.split_once('m').map_or("", |(_, rest)| rest) };
        stripped.push_str(rest);
    }
    assert_eq!(stripped, plain);
}

#[test]
fn markdown_files() {
    check("md", markdown::render);
}

#[test]
fn csv_files() {
    check("csv", csv::render);
    let text = csv::render(&comparison(Scenario::Troubled));
    for axes in ["torch,native,cpu,", "onnx,container,coreml,"] {
        assert!(text.contains(&format!("\r\n{axes}")), "no line begins with {axes}");
    }
}

#[test]
fn json_reads_back_and_holds_every_sample() {
    for (scenario, _) in SCENARIOS {
        let comparison = comparison(scenario);
        let text = json::render(&comparison).expect("a report is JSON");
        let read: json::Report = serde_json::from_str(&text).expect("the report reads back");
        let told = json::report(&comparison);
        for (a, b) in read.cells.iter().zip(&told.cells) {
            assert!((&a.label, &a.state, &a.reason) == (&b.label, &b.state, &b.reason), "{} differs", b.label);
            assert!(a.sessions == b.sessions, "{}: samples differ", b.label);
        }
        assert_eq!((read.schema.as_str(), read.cells.len()), ("pipe-report/1", comparison.rows.len()));
        let samples = |cell: &json::CellJson| cell.sessions.iter().map(|s| s.samples.len()).sum::<usize>();
        assert_eq!(samples(&read.cells[0]), 24);
        assert!(!text.contains("cached") && !text.contains("1790000000"), "cache states or times are in it");
    }
}

#[test]
fn json_reports_are_as_the_published_schema_says() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/report.schema.json"));
    let published: serde_json::Value = serde_json::from_str(&text.expect("the schema")).expect("the schema is JSON");
    let held = |comparison: &Comparison| {
        let report = serde_json::to_value(json::report(comparison)).expect("JSON");
        (schema::wrong(&published, &report), report)
    };
    for (scenario, name) in SCENARIOS {
        let (wrong, report) = held(&comparison(scenario));
        assert!(wrong.is_empty(), "{name}: {wrong:?}");
        // What is held so would not go unnoticed: a field that goes, comes, or changes its type.
        for (change, said) in
            [("state", "`state` is missing"), ("new", "does not name `new`"), ("winner", "is no boolean")]
        {
            let mut report = report.clone();
            let cell = report["cells"][0].as_object_mut().expect("a cell");
            match change {
                "state" => drop(cell.remove("state")),
                other => drop(cell.insert(other.to_owned(), 7.into())),
            }
            let found = schema::wrong(&published, &report);
            assert!(found.len() == 1 && found[0].contains(said), "{change}: {found:?}");
        }
    }
}

#[test]
fn rows_cover_the_product_of_the_axes() {
    for (scenario, _) in SCENARIOS {
        let comparison = comparison(scenario);
        let cells = comparison.rows.iter().filter(|row| row.cell.is_some()).count();
        assert_eq!(cells, 16);
        assert_eq!(comparison.holes().count() + comparison.measured().count(), 16);
        assert!(comparison.holes().all(|(_, hole)| !hole.reason.is_empty()));
    }
}

#[test]
fn pages_need_no_network_and_are_the_same_for_a_cached_run() {
    for (scenario, name) in SCENARIOS {
        let first = comparison(scenario);
        let second = comparison(scenario);
        let page = html::render(&first, Some(&fixture::graph(&first, false)));
        assert!(page == html::render(&second, Some(&fixture::graph(&second, true))), "{name}: the pages differ");
        for outside in ["<script", "src=", "href=\"http", "url(", "@import", "<link"] {
            assert!(!page.contains(outside), "{name}: `{outside}` is in the page");
        }
        for row in first.measured() {
            let anchor = row.anchor();
            assert!(page.contains(&format!("id=\"cell-{anchor}\"")), "{name}: no samples of {anchor}");
            assert!(page.contains(&format!("href=\"#cell-{anchor}\"")), "{name}: no link to {anchor}");
            assert!(page.contains(&format!("href=\"#record-{anchor}\"")), "{name}: no link to the record of {anchor}");
            assert!(page.contains(&format!("id=\"record-{anchor}\"")), "{name}: no record of {anchor}");
        }
        // For looking at: the pictures of a test run stay in the target folder.
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        std::fs::write(folder.join(format!("{name}.html")), &page).expect("the page can be written");
        let picture = graph::svg::render(&fixture::graph(&first, false), graph::svg::Style { rows: true })
            .expect("the graph can be drawn");
        std::fs::write(folder.join(format!("{name}.svg")), picture).expect("the picture can be written");
    }
}

/// What stands between two texts of a page.
fn between<'a>(page: &'a str, begin: &str, end: &str) -> &'a str {
    let (_, after) = page.split_once(begin).unwrap_or_else(|| panic!("no `{begin}` in the page"));
    after.split_once(end).unwrap_or_else(|| panic!("no `{end}` after `{begin}`")).0
}

/// The picture of a title, from its `<svg` to its end.
fn picture<'a>(page: &'a str, title: &str) -> &'a str {
    between(page, &format!("<strong>{title}</strong>"), "</svg>")
}

#[test]
fn each_picture_is_drawn_or_named_with_the_reason() {
    let page = |comparison: &Comparison| html::render(comparison, None);
    let plain = page(&comparison(Scenario::Plain));
    let inference = page(&comparison(Scenario::Inference));
    let further = ["Throughput against latency", "Speed-up against the baseline", "Throughput", "Peak memory"];
    let last = ["Cold start", "Parity", "Drift over the session"];
    for title in further.iter().chain(&last) {
        for page in [&plain, &inference] {
            let svg = picture(page, title);
            assert!(svg.contains("<title ") && svg.contains("<desc ") && svg.contains("aria-labelledby="), "{title}");
            for cell in ["torch native cpu", "onnx container cpu"] {
                assert!(svg.contains(cell), "{title} does not name {cell}");
            }
        }
    }
    assert!(picture(&plain, "Distribution of the time per output token").matches("class=\"sample").count() >= 100);
    assert!(picture(&inference, "Distribution of the latency").matches("class=\"p95\"").count() >= 2);
    // 4 cells, each in 10 blocks, each sample a dot in its block.
    let drift = picture(&plain, "Drift over the session");
    assert_eq!(drift.matches("class=\"block\"").count(), 40);
    assert_eq!(drift.matches("<circle").count(), 24 + 24 + 31 + 31);
    let ids: Vec<&str> = plain.match_indices(" id=\"").map(|(at, _)| between(&plain[at..], " id=\"", "\"")).collect();
    let distinct: std::collections::BTreeSet<&&str> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len(), "an id stands twice");

    let missing = page(&comparison(Scenario::NoDocker));
    let reasons = between(&missing, "small lacking\">", "</ul>");
    assert!(reasons.contains("Speed-up against the baseline</strong> is not drawn: the baseline is unavailable"));
}

#[test]
fn many_samples_make_a_shape_and_a_page_of_its_size() {
    let many = comparison_with(Scenario::Inference, |_, outcome| match outcome {
        Outcome::Measured { sessions, outputs, from_store } => {
            let mut sessions = sessions.into_owned();
            let first = sessions[0].samples.clone();
            sessions[0].samples = first.iter().cycle().take(2_000).cloned().collect();
            // The farthest one lies beyond a readable axis, and is told.
            sessions[0].samples[1_000].prefill_ns *= 30;
            Outcome::Measured { sessions: sessions.into(), outputs, from_store }
        }
        other => other,
    });
    let page = html::render(&many, None);
    let svg = picture(&page, "Distribution of the latency");
    assert!(!svg.contains("<circle") && svg.matches("class=\"sample").count() == 4, "a cell is not one shape");
    assert_eq!(svg.matches("1 beyond, the farthest ").count(), 4);
    let pictures = between(&page, "id=\"charts\"", "</section>");
    assert!(pictures.len() < 250_000, "{} bytes of pictures", pictures.len());
}

#[test]
fn a_headline_says_no_more_than_the_verdict() {
    let headline = |comparison: &_| {
        let page = html::render(comparison, Some(&fixture::graph(comparison, false)));
        let (_, after) = page.split_once("class=\"star\"").expect("a cell wins");
        after.split("</div>").next().expect("an end").to_owned()
    };
    assert!(headline(&comparison(Scenario::Plain)).contains("1.42× the speed of the baseline (99 % interval "));
    let without_onnx = comparison_with(Scenario::Plain, |cell, outcome| match cell.starts_with("onnx") {
        true => Outcome::Failed { reason: "it crashed".to_owned(), remedy: None },
        false => outcome,
    });
    let text = headline(&without_onnx);
    assert!(text.contains("no difference from the baseline was found (1.01×, 99 % interval "), "{text}");
}

#[test]
fn force_marks_every_format() {
    let with = |force: bool| {
        comparison_forced(Scenario::Plain, force, |cell, outcome| match outcome {
            Outcome::Measured { sessions, outputs, from_store } if cell == "onnx native cpu" => {
                let mut sessions = sessions.into_owned();
                sessions[0].prepared.as_mut().expect("it is prepared").threads = 4;
                Outcome::Measured { sessions: sessions.into(), outputs, from_store }
            }
            other => other,
        })
    };
    let texts = |comparison: &Comparison| {
        [
            terminal::render(comparison, terminal::Style::default()).replace("\n  ", " "),
            markdown::render(comparison),
            csv::render(comparison),
            json::render(comparison).expect("a report is JSON"),
            html::render(comparison, None),
        ]
    };
    let marks = [
        "Forced: compared",
        "> **Forced: compared",
        ",threads 4 against 2\r\n",
        "\"forced\": true",
        "Forced: compared",
    ];
    let (forced, plain) = (texts(&with(true)), texts(&with(false)));
    for ((forced, plain), mark) in forced.iter().zip(&plain).zip(marks) {
        assert!(forced.contains(mark), "no `{mark}` in:\n{forced}");
        assert!(!plain.contains(mark), "`{mark}` without force");
    }
    assert!(plain[0].contains("not comparable; beyond the axes: threads 4 / 2"), "{}", plain[0]);
}

#[test]
fn hostile_text_stays_text_in_every_format() {
    let hostile = "a | b <script>alert(1)</script> \"q\", =1+1 `c|d`\n\u{1b}[31mred\u{7}";
    let comparison = comparison_with(Scenario::Plain, |cell, outcome| match cell {
        "torch native cuda" => Outcome::Failed { reason: hostile.to_owned(), remedy: Some(hostile.to_owned()) },
        _ => outcome,
    });
    let page = html::render(&comparison, Some(&fixture::graph(&comparison, false)));
    assert!(!page.contains("<script") && page.contains("&lt;script&gt;"));
    let table = terminal::render(&comparison, terminal::Style::default());
    assert!(!table.contains(['\u{1b}', '\u{7}']));
    let markdown = markdown::render(&comparison);
    assert!(!markdown.contains("<script") && !markdown.contains('\u{1b}'));
    let bars = |line: &str| line.replace("\\|", "").matches('|').count();
    for line in markdown.lines().skip_while(|line| !line.contains("what fills them")).take_while(|l| !l.is_empty()) {
        assert_eq!(bars(line), 5, "{line}");
    }
    let text = csv::render(&comparison);
    assert!(text.contains("\"a | b <script>alert(1)</script> \"\"q\"\", =1+1 `c|d`\n"));
    assert!(json::render(&comparison).expect("a report is JSON").contains("\\u001b"));
}
