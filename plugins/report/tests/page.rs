//! The whole step on a hand-made dataset whose every name is hostile: what it counts, that the page is well formed, that
//! nothing from data becomes markup, and that the bytes do not change.

use report::Card;
use flowrun_plugin::{Failure, Task, Values};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Ends an attribute, a tag, a title, a style and a script, and starts an element that would run.
const EVIL: &str = "</title></style></script><img src=x onerror='alert(1)'>\"`&amp; ]]>";
/// The same as far as a file may be called so.
const FILE: &str = "<img src=x onerror=alert(1)>\"'&%20.jpg";

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
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), bytes).expect("written");
    }

    fn run(&self, names: &[&str], config: &Value) -> Result<(Values, String), Failure> {
        let places: Vec<(&str, PathBuf)> = names
            .iter()
            .map(|&name| (name, if name == "dataset" { self.path(name) } else { self.path(&format!("{name}.json")) }))
            .collect();
        let inputs: Vec<_> = places.iter().map(|(name, path)| (*name, path.as_path())).collect();
        let page = self.path("page.html");
        let values =
            flowrun_plugin::run::<Card>(&config.to_string(), &Task::native(&inputs, &[("page", &page)]))?;
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
    for page in [stage.full().1, plain] {
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
