//! The whole step on a hand-made dataset whose every name is hostile: what it counts, that the page is well formed, that
//! nothing from data becomes markup, and that the bytes do not change.

use flowrun_plugin::{Failure, Task, Values};
use report::Card;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Ends an attribute, a tag, a title, a style and a script, and starts an element that would run.
const EVIL: &str = "</title></style></script><img src=x onerror='alert(1)'>\"`&amp; ]]>";
/// The same as far as a file may be called so.
const FILE: &str = "<img src=x onerror=alert(1)>\"'&%20.jpg";

/// Everything a page may be made of.
const ALL: [&str; 7] = ["dataset", "detections", "evaluation", "curve", "findings", "metrics", "table"];

struct Stage {
    folder: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let stage = Self { folder: tempfile::tempdir().expect("a folder") };
        std::fs::create_dir_all(stage.path("dataset/test")).expect("made");
        for file in [FILE, "b.jpg", "gone.jpg"] {
            stage.write(&format!("dataset/test/{file}"), [0xff, 0xd8, 0xff, 0xe0]);
        }
        std::fs::remove_file(stage.path("dataset/test/gone.jpg")).expect("removed");
        let quoted = format!("\"{}\"", FILE.replace('"', "\"\""));
        let class = format!("\"{}\"", EVIL.replace('"', "\"\""));
        stage.write("dataset/classes.json", json!([EVIL, "leaf"]).to_string());
        let images = format!("test,{quoted},100,80,x\ntest,b.jpg,100,80,b.jpg\ntest,gone.jpg,100,80,gone.jpg\n");
        stage.write("dataset/images.csv", format!("split,filename,width,height,source\n{images}"));
        let boxes = format!(
            "{quoted},100,80,{class},0,0,10,10\n{quoted},100,80,leaf,20,0,30,10\nb.jpg,100,80,leaf,0,0,10,10\ngone.jpg,100,80,leaf,5,5,50,50\n"
        );
        stage.write("dataset/test.csv", format!("filename,width,height,class,xmin,ymin,xmax,ymax\n{boxes}"));
        stage.write("dataset/README.md", format!("# Data\n\n## License\n\nBy {EVIL}\nCC BY 4.0\n\nMore.\n"));
        stage.write("detections.json", detections().to_string());
        stage.write("evaluation.json", evaluation().to_string());
        stage.write("curve.json", training().to_string());
        stage.write("findings.json", findings().to_string());
        stage.write("metrics.json", json!({"loss": {"train": 0.25, EVIL: EVIL}, "rows": 12345}).to_string());
        let rows: String = (0..120).map(|row| format!("{class},{row}\n")).collect();
        stage.write("table.csv", format!("{class},score\n{rows}"));
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), bytes).expect("written");
    }

    fn run(&self, names: &[&str], config: &Value) -> Result<(Values, String), Failure> {
        let file = |name: &str| match name {
            "dataset" => self.path(name),
            "table" => self.path("table.csv"),
            name => self.path(&format!("{name}.json")),
        };
        let places: Vec<(&str, PathBuf)> = names.iter().map(|&name| (name, file(name))).collect();
        let inputs: Vec<_> = places.iter().map(|(name, path)| (*name, path.as_path())).collect();
        let page = self.path("page.html");
        let values = flowrun_plugin::run::<Card>(&config.to_string(), &Task::native(&inputs, &[("page", &page)]))?;
        Ok((values, std::fs::read_to_string(page).expect("written")))
    }

    fn full(&self) -> (Values, String) {
        self.run(&["dataset", "detections", "evaluation", "curve", "findings"], &json!({"title": EVIL}))
            .expect("it runs")
    }
}

fn detections() -> Value {
    let found = |class: usize, score: f64, corners: [f64; 4]| json!({"class": class, "score": score, "box": corners});
    let image = |file: &str, found: Vec<Value>| json!({"file": file, "width": 100, "height": 80, "detections": found});
    json!({"format": 1, "classes": [EVIL, "leaf"], "images": [
        image(FILE, vec![
            found(0, 0.9, [0.0, 0.0, 10.0, 10.0]),   // right
            found(0, 0.8, [20.0, 0.0, 30.0, 10.0]),  // wrong: that is a leaf
            found(0, 0.7, [1.0, 0.0, 10.0, 10.0]),   // wrong: a second time
            found(1, 0.2, [20.0, 0.0, 30.0, 10.0]),  // right, below the least score: the leaf is missed
        ]),
        image("b.jpg", vec![found(1, 0.3, [0.0, 0.0, 10.0, 9.0])]),  // right, just at the least score
        image("gone.jpg", vec![found(1, 0.5, [60.0, 60.0, 90.0, 75.0])]),  // wrong: nothing there
    ]})
}

fn evaluation() -> Value {
    let row = |class: &str, ap: Option<f64>| json!({"class": class, "ap": ap, "ap50": ap, "recall": ap, "boxes": 1});
    json!({"format": 1, "map": 0.25, "map50": 0.5, "images": 3, "boxes": 4,
        "per_class": [row(EVIL, Some(0.25)), row("leaf", None), row("of no dataset", Some(0.0))],
        "curves": [{"class": EVIL, "precision": vec![0.5; 101]}, {"class": "of no dataset", "precision": vec![0.0; 101]}]})
}

fn training() -> Value {
    json!({"format": 1, "epochs": [{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": null}, {"epoch": 3, "loss": 1.0}],
        "settings": {EVIL: EVIL, "batch": 4}})
}

fn findings() -> Value {
    json!({"format": 1, "counts": {EVIL: 2}, "summary": {EVIL: {"images": 3, "boxes": 4}},
        "findings": [{"split": EVIL, "line": 5, "filename": EVIL, "kind": EVIL, "fields": [EVIL], "message": EVIL, "action": EVIL},
            {"split": null, "line": null, "filename": null, "kind": "test_split_made", "fields": []}],
        "suspects": [{"split": "test", "filename": FILE, "class": EVIL, "reason": EVIL, "score": 0.9},
            {"split": "..", "filename": "../detections.json", "class": null, "reason": "a path", "score": null}]})
}

/// The page's tags in order, with their attributes, less what stands in style and script. A small strict reader: it knows
/// quoted attributes only, as the page writes them.
fn tags(page: &str) -> Vec<String> {
    let mut tags = Vec::new();
    let mut rest = page;
    while let Some(start) = rest.find('<') {
        rest = &rest[start + 1..];
        let mut quoted = false;
        let end = rest.find(|c| {
            quoted ^= c == '"';
            c == '>' && !quoted
        });
        let tag = &rest[..end.expect("a tag that ends")];
        assert!(!tag.contains('<'), "a `<` inside a tag: {tag}");
        tags.push(tag.to_owned());
        rest = &rest[tag.len() + 1..];
        if let Some(name) = ["style", "script"].iter().find(|name| tag == **name) {
            rest = &rest[rest.find(&format!("</{name}>")).expect("it is closed")..];
        }
    }
    tags
}

fn name(tag: &str) -> &str {
    tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default()
}

#[test]
fn right_wrong_and_missed_are_counted() {
    let (values, page) = Stage::new().full();
    assert_eq!(Value::Object(values), json!({"pictures": 3, "right": 2, "wrong": 3, "missed": 2}));
    assert!(page.contains("2 of 4 boxes") && page.contains("3 wrong boxes"));
    let lower = json!({"min_score": 0.1});
    let (values, _) = Stage::new().run(&["dataset", "detections", "evaluation"], &lower).expect("it runs");
    assert_eq!(Value::Object(values), json!({"pictures": 3, "right": 3, "wrong": 3, "missed": 1}));
}

#[test]
fn every_tag_is_closed_in_turn() {
    let stage = Stage::new();
    let (_, plain) = stage.run(&["dataset", "detections", "evaluation"], &json!({"pictures": 0})).expect("it runs");
    let alone = ALL.iter().map(|name| stage.run(&[name], &json!({})).expect(name).1);
    let pairs = ALL.windows(2).map(|names| stage.run(names, &json!({})).expect("it runs").1);
    let everything = stage.run(&ALL, &json!({})).expect("it runs").1;
    for page in [stage.full().1, plain, everything].into_iter().chain(alone).chain(pairs) {
        let mut open = Vec::new();
        for tag in tags(&page) {
            let void = ["!doctype", "meta", "img", "br", "input"].contains(&name(&tag)) || tag.ends_with('/');
            if tag.starts_with('/') {
                assert_eq!(open.pop().as_deref(), Some(name(&tag)), "at </{}>", name(&tag));
            } else if !void {
                open.push(name(&tag).to_owned());
            }
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        }
        assert!(open.is_empty(), "{open:?}");
    }
}

#[test]
fn any_input_alone_makes_a_page_that_says_what_it_lacks() {
    let stage = Stage::new();
    let page = |names: &[&str]| stage.run(names, &json!({})).expect("it runs");
    for (name, shown, lacks) in [
        ("dataset", "<h2>Data set</h2><p>3 pictures in the split.</p>", "No detections were given"),
        ("detections", "<h2>Found boxes</h2><p>In 3 pictures.</p>", "No data set was given"),
        ("evaluation", "mAP@0.5", "need both the data set and the detections, not given for this page"),
        ("curve", "<h2>Training</h2>", ""),
        ("findings", "<h2>The data</h2>", "not in the dataset"),
        ("metrics", "<h2>rows</h2><p title=\"12345\">12\u{202f}345</p>", ""),
        ("table", "<h2>Table</h2><p>120 rows, 2 columns.</p>", "and 20 rows not shown"),
    ] {
        let (values, page) = page(&[name]);
        assert!(page.contains(shown) && page.contains(lacks), "{name}: {page}");
        assert_eq!((&values["right"], &values["missed"]), (&Value::Null, &Value::Null), "{name}: nothing was judged");
        let of_boxes = ["dataset", "detections", "evaluation"].contains(&name);
        assert_eq!(page.contains("<title>Detection report</title>"), of_boxes, "{name}");
        assert_eq!(page.contains("Object detection on"), of_boxes, "{name}");
        assert!(page.contains("id=\"pr\"") && page.contains("id=\"theme\""), "the script looks for both");
    }
    let (values, page) = page(&["dataset", "detections"]);
    assert_eq!(Value::Object(values), json!({"pictures": 3, "right": 2, "wrong": 3, "missed": 2}));
    assert!(
        page.contains("Average precision needs an evaluation, not given for this page")
            && page.contains("id=\"gallery\"")
    );
    let failure = stage.run(&[], &json!({})).expect_err("no input").to_string();
    assert!(failure.contains("the page needs an input: name one of `dataset`, "), "{failure}");
}

#[test]
fn true_and_found_boxes_are_counted_by_class() {
    let stage = Stage::new();
    assert_eq!(row("leaf", &stage.run(&["dataset"], &json!({})).expect("it runs").1), ["3", "3"]);
    assert_eq!(row("leaf", &stage.run(&["detections"], &json!({})).expect("it runs").1), ["2", "2"]);
    assert_eq!(row("leaf", &stage.run(&["detections"], &json!({"min_score": 0.1})).expect("it runs").1), ["3", "3"]);
}

/// The numbers in a class's row.
fn row(class: &str, page: &str) -> Vec<String> {
    let start = page.find(&format!("<bdi>{class}</bdi>")).expect("a row");
    let end = page[start..].find("</tr>").expect("its end");
    let cells = page[start..start + end].split("<td>").skip(1);
    cells.map(|cell| cell.trim_end_matches("</td>").to_owned()).collect()
}

#[test]
fn figures_and_tables_are_escaped_and_cut() {
    let stage = Stage::new();
    let both = ["metrics", "table"];
    let (_, page) = stage.run(&both, &json!({"rows": 2, "title": EVIL})).expect("it runs");
    assert!(!tags(&page).iter().any(|tag| name(tag) == "img"), "nothing from data becomes markup");
    let text = "&lt;/title&gt;&lt;/style&gt;&lt;/script&gt;&lt;img src=x onerror=&#39;alert(1)&#39;&gt;&quot;`&amp;amp; ]]&gt;";
    assert!(page.contains(&format!("<h2>loss.{text}</h2><div title=\"{text}\">{text}</div>")), "{page}");
    assert!(page.contains(&format!("<td>{text}</td><td style=\"text-align:right\">1</td>")));
    assert!(page.contains("and 118 rows not shown") && !page.contains(">2</td>"));
    stage.write("metrics.json", "{}");
    stage.write("table.csv", "a,b\n");
    let (_, page) = stage.run(&both, &json!({})).expect("it runs");
    assert!(page.contains("The file holds no figures.") && page.contains("The table has no rows."));
    stage.write("metrics.json", json!({"a": vec![0.5; 600]}).to_string());
    let (_, page) = stage.run(&both, &json!({})).expect("it runs");
    assert!(page.contains("<th>a.10</th><td title=\"0.5\">0.5</td>") && page.contains("and 100 more"));
    for (file, text, said) in
        [("metrics.json", "[]", "a JSON object was expected"), ("table.csv", "a,b\n1\n", "the table is not readable")]
    {
        let stage = Stage::new();
        stage.write(file, text);
        let failure = stage.run(&both, &json!({})).expect_err(file);
        assert!(matches!(&failure, Failure::BadInput(message) if message.contains(said)), "{failure:?}");
    }
}

#[test]
fn nothing_from_data_becomes_markup_or_is_loaded() {
    let (_, page) = Stage::new().full();
    let all = tags(&page);
    let images = all.iter().filter(|tag| name(tag) == "img").collect::<Vec<_>>();
    assert_eq!(images.len(), 3, "two pictures and one suspect");
    assert!(images.iter().all(|tag| tag.contains(" src=\"data:image/jpeg;base64,")), "{images:?}");
    let scripts = all.iter().filter(|tag| name(tag) == "script" && !tag.starts_with('/')).count();
    assert_eq!(scripts, 1);
    let runs = |tag: &&String| tag.split('"').step_by(2).any(|code| code.contains(" on"));
    assert_eq!(all.iter().find(runs), None, "no handler in an attribute's name");
    assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("url("));
    assert!(page.contains("not in the dataset"), "the missing picture, and the suspect that is a path");
    let text = "&lt;/title&gt;&lt;/style&gt;&lt;/script&gt;&lt;img src=x onerror=&#39;alert(1)&#39;&gt;&quot;`&amp;amp; ]]&gt;";
    assert!(page.contains(&format!("<title>{text}</title>")));
    assert!(page.contains(&format!("By {text} CC BY 4.0</p>")), "the attribution is the licence's first paragraph");
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    assert_eq!(Stage::new().full().1, Stage::new().full().1);
}

#[test]
fn each_failure_says_whose_it_is() {
    let stage = Stage::new();
    let names = ["dataset", "detections", "evaluation"];
    for (config, path) in [
        (json!({"min_score": 2}), "min_score"),
        (json!({"pictures": 100_000}), "pictures"),
        (json!({"rows": 100_000}), "rows"),
        (json!({"split": "a/b"}), "split"),
        (json!({"titel": "x"}), "titel"),
    ] {
        let failure = stage.run(&names, &config).expect_err("should be refused");
        assert!(matches!(&failure, Failure::BadConfig { path: at, .. } if at == path), "{failure:?}");
    }
    stage.write("detections.json", json!({"format": 1, "classes": [EVIL, "leaf"], "images": []}).to_string());
    let failure = stage.run(&names, &json!({})).expect_err("no pictures");
    assert!(matches!(&failure, Failure::BadInput(text) if text.contains("lack the picture")), "{failure:?}");
    stage.write("detections.json", json!({"format": 1, "classes": ["leaf"], "images": []}).to_string());
    let failure = stage.run(&names, &json!({})).expect_err("other classes");
    assert!(matches!(&failure, Failure::BadInput(text) if text.contains("classes")), "{failure:?}");
}
