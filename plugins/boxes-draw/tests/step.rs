//! The whole step, natively, on the sample: the lines are where the boxes are, in their colours.

use boxes::Picture;
use boxes_draw::BoxesDraw;
use flowrun_plugin::{Failure, Host, Place, Task, Values, run};
use std::fs;
use std::path::{Path, PathBuf};

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sample")
}

fn step(config: &str, input: &Path, detections: bool) -> Result<(Values, tempfile::TempDir), Failure> {
    let output = tempfile::tempdir().expect("a folder");
    let place = |name: &str, path: &Path| Place { name: name.into(), path: path.to_path_buf() };
    let mut inputs = vec![place("dataset", input)];
    if detections {
        inputs.push(place("detections", &input.join("detections.json")));
    }
    let outputs = vec![place("pictures", output.path())];
    let values = run::<BoxesDraw>(config, &Task::new(inputs, outputs, Host::Silent))?;
    Ok((values, output))
}

/// Whether the pixel is near the colour: a JPEG blurs.
fn is(picture: &Picture, x: u32, y: u32, colour: [u8; 3]) -> bool {
    let at = ((y * picture.width() + x) * 3) as usize;
    picture.bytes()[at..at + 3].iter().zip(colour).all(|(a, b)| a.abs_diff(b) < 60)
}

const TRUE: [u8; 3] = [60, 220, 90];
const FOUND: [u8; 3] = [230, 30, 160];

#[test]
fn lines_are_where_the_boxes_are() {
    let (values, output) = step(r#"{"thickness": 6}"#, &sample(), true).expect("runs");
    assert_eq!((&values["images"], &values["boxes"], &values["detections"]), (&1.into(), &2.into(), &1.into()));
    let picture = Picture::decode(&fs::read(output.path().join("leaf.png.jpg")).expect("read")).expect("decodes");
    assert_eq!((picture.width(), picture.height()), (320, 240));
    for (x, y) in [(203, 170), (286, 170), (240, 113), (240, 216)] {
        assert!(is(&picture, x, y, TRUE), "{x}, {y}");
    }
    for (x, y) in [(154, 100), (100, 140)] {
        assert!(is(&picture, x, y, FOUND), "{x}, {y}");
    }
    for (x, y) in [(240, 160), (35, 20)] {
        assert!(!is(&picture, x, y, TRUE), "{x}, {y}");
        assert!(!is(&picture, x, y, FOUND), "{x}, {y}");
    }
    let (values, _) = step(r#"{"min_score": 0.1}"#, &sample(), true).expect("runs");
    assert_eq!(values["detections"], 2);
    let (values, output) = step("", &sample(), false).expect("runs");
    assert_eq!(values["detections"], 0);
    let picture = Picture::decode(&fs::read(output.path().join("leaf.png.jpg")).expect("read")).expect("decodes");
    assert!(!is(&picture, 154, 100, FOUND) && is(&picture, 31, 100, TRUE));
    let (values, _) = step(r#"{"split": "train"}"#, &sample(), false).expect("runs");
    assert_eq!(values["images"], 0);
}

#[test]
fn what_is_wrong_is_named() {
    for (key, value) in
        [("limit", "0"), ("min_score", "1.5"), ("thickness", "51"), ("split", "\"valid\""), ("colour", "\"red\"")]
    {
        match step(&format!("{{\"{key}\": {value}}}"), &sample(), false) {
            Err(Failure::BadConfig { path, .. }) => assert_eq!(path, key),
            other => panic!("{key}: {value} gave {other:?}"),
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["train.csv", "test.csv", "images.csv", "classes.json"] {
        fs::copy(sample().join(name), folder.path().join(name)).expect("copied");
    }
    let said = |detections| match step("", folder.path(), detections) {
        Err(Failure::BadInput(message)) => message,
        other => panic!("{other:?}"),
    };
    assert!(said(false).starts_with("`test/leaf.png`: "));
    fs::write(folder.path().join("detections.json"), "{\"format\": 1}").expect("written");
    assert!(said(true).starts_with("the detections are not readable: missing field `classes`"));
    fs::create_dir(folder.path().join("test")).expect("made");
    fs::write(folder.path().join("test/leaf.png"), "GIF89a").expect("written");
    assert_eq!(said(false), "`test/leaf.png`: neither a JPEG nor a PNG picture");
}
