//! Pascal VOC's layout: one XML a picture, read.
//!
//! ```text
//! Annotations/NAME.xml   JPEGImages/NAME.jpg   ImageSets/Main/train.txt (names, one a line; test.txt, val.txt, trainval.txt)
//! ```
//!
//! Source: the development kit of VOC 2012, "Annotation": `<bndbox>` holds `xmin`, `ymin`, `xmax`, `ymax` in pixels, the top
//! left pixel is (1,1), and the edges are inside the box. So a box of pixels 1 to 10 is 0 to 10 as [`crate::Rect`] has it.
//! Some programs write pixels from 0 all the same; nothing in the file tells, and they are a pixel off.
//! Without lists under `ImageSets/Main`, words of folder names tell the split. Boxes of parts (`<part>`) are passed over.
//!
//! No entity but those of XML itself is known, and a document type is refused: nothing in a file can grow.

use super::lookup::{Pictures, stem};
use super::splits::{self, Word};
use super::{Annotated, FlawKind, FormatError, Lines, Place, Source, Written, text};
use crate::catalog::{Catalog, File};
use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::Event;
use std::collections::HashMap;

/// The largest XML read: one picture's boxes, a thousand of them in 300 kB.
const MAX_XML: u64 = 16 << 20;
/// How much of a file is looked at to tell what it is.
const LOOK: u64 = 4096;
/// The largest list of names read: ten million.
const MAX_LIST: u64 = 256 << 20;
/// The deepest element. VOC has five levels.
const MAX_DEPTH: usize = 32;

/// The XML files that hold an annotation.
pub(super) fn find(catalog: &Catalog) -> impl Iterator<Item = &File> {
    let is_xml = |file: &&File| file.name().to_ascii_lowercase().ends_with(".xml");
    let starts = |file: &&File| file.head(LOOK).is_ok_and(|head| head.windows(11).any(|part| part == b"<annotation"));
    catalog.files.iter().filter(is_xml).filter(starts)
}

/// Reads all of them.
pub(super) fn read(catalog: &Catalog) -> Result<Source<'_>, FormatError> {
    let lists = lists(catalog)?;
    let word = |file: &File| match &lists {
        Some(lists) => lists.get(stem(file.name())).copied(),
        None => Some(splits::of_folders(file)),
    };
    let files: Vec<(&File, Option<Option<Word>>)> = find(catalog).map(|file| (file, word(file))).collect();
    if files.is_empty() {
        return Err(FormatError::file(".", "no XML file with an `<annotation>`"));
    }
    let used = splits::used(&files.iter().filter_map(|(_, word)| *word).collect::<Vec<_>>());
    let (mut source, pictures) = (Source::default(), Pictures::new(catalog));
    for (file, word) in files {
        let Some((split, word)) = word.and_then(|word| Some((used(word)?, word))) else {
            source.unused.push(file.path.clone());
            continue;
        };
        let text = text(file, MAX_XML)?;
        let parsed = Parser::new(&file.path, &text).parse()?;
        let place = |line| Place { file: file.path.clone(), line };
        let boxes: Vec<Written> = parsed.objects.into_iter().map(|object| object.written(&file.path)).collect();
        source.classes.extend(boxes.iter().map(|one| one.class.clone()));
        // Some write no ending, or that of another file: then the picture beside, of the annotation's own name, is meant.
        let found = pictures.find(&parsed.filename, file.folder(), word).or_else(|flaw| {
            let beside =
                |ending: &&str| pictures.find(&format!("{}.{ending}", stem(file.name())), file.folder(), word).ok();
            let unsafe_name = flaw.0 == FlawKind::UnsafeName;
            (!unsafe_name)
                .then(|| ["jpg", "jpeg", "png", "JPG", "JPEG", "PNG"].iter().find_map(beside))
                .flatten()
                .ok_or(flaw)
        });
        match found {
            Ok(found) => {
                let stated = parsed.width.zip(parsed.height);
                source.add(split, Annotated { file: found, stated, boxes, place: place(None) });
            }
            Err((kind, message)) => {
                source.flaw(split, place(parsed.filename_line), &parsed.filename, kind, message);
            }
        }
    }
    Ok(source.finish())
}

/// The split's word of each name in the lists; none where there are no lists.
fn lists(catalog: &Catalog) -> Result<Option<HashMap<String, Option<Word>>>, FormatError> {
    let list = |name: &str| {
        let end = format!("ImageSets/Main/{name}.txt");
        let file = catalog.files.iter().find(|file| file.path == end || file.path.ends_with(&format!("/{end}")));
        file.map(|file| text(file, MAX_LIST)).transpose()
    };
    let (mut words, mut any) = (HashMap::new(), false);
    // Train last: VOC's own `trainval` holds what `val` holds, and who is in `train` and in `test` is judged by.
    for (name, word) in [("test", Word::Test), ("train", Word::Train), ("val", Word::Valid), ("trainval", Word::Train)]
    {
        let Some(text) = list(name)? else { continue };
        any = true;
        for name in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            words.entry(name.to_owned()).or_insert(Some(word));
        }
    }
    Ok(any.then_some(words))
}

#[derive(Default)]
struct Parsed {
    filename: String,
    filename_line: Option<u64>,
    width: Option<f64>,
    height: Option<f64>,
    objects: Vec<Object>,
}

struct Object {
    line: u64,
    name: String,
    edges: [Option<f64>; 4],
}

impl Object {
    fn written(self, file: &str) -> Written {
        let [xmin, ymin, xmax, ymax] = self.edges.map(|edge| edge.unwrap_or(f64::NAN));
        let place = Place { file: file.to_owned(), line: Some(self.line) };
        Written { class: self.name, edges: [xmin - 1.0, ymin - 1.0, xmax, ymax], place }
    }
}

struct Parser<'a> {
    file: &'a str,
    reader: Reader<&'a [u8]>,
    lines: Lines<'a>,
    path: Vec<String>,
    /// The text of the element that is open.
    value: String,
}

impl<'a> Parser<'a> {
    fn new(file: &'a str, text: &'a str) -> Self {
        let reader = Reader::from_str(text);
        Self { file, reader, lines: Lines::new(text), path: Vec::new(), value: String::new() }
    }

    fn wrong(&mut self, message: impl std::fmt::Display) -> FormatError {
        let line = self.line();
        FormatError::line(self.file, line, message)
    }

    fn line(&mut self) -> u64 {
        let offset = self.reader.buffer_position().max(self.reader.error_position());
        self.lines.at(usize::try_from(offset).unwrap_or(usize::MAX))
    }

    fn parse(mut self) -> Result<Parsed, FormatError> {
        let mut parsed = Parsed::default();
        loop {
            match self.reader.read_event() {
                Ok(Event::Start(start)) => {
                    self.open(start.name().as_ref(), &mut parsed)?;
                }
                Ok(Event::Empty(start)) => {
                    self.open(start.name().as_ref(), &mut parsed)?;
                    self.close(&mut parsed);
                }
                Ok(Event::End(_)) => self.close(&mut parsed),
                Ok(Event::Text(text)) => self.value.push_str(&text.xml10_content()),
                Ok(Event::CData(text)) => self.value.push_str(&text.xml10_content()),
                Ok(Event::GeneralRef(reference)) => {
                    let known = match reference.resolve_char_ref() {
                        Ok(Some(char)) => Some(char.to_string()),
                        Ok(None) => resolve_predefined_entity(&reference.xml10_content()).map(str::to_owned),
                        Err(_) => None,
                    };
                    match known {
                        Some(text) => self.value.push_str(&text),
                        None => return Err(self.wrong("an entity that is not XML's own")),
                    }
                }
                Ok(Event::DocType(_)) => return Err(self.wrong("a document type, which no annotation needs")),
                Ok(Event::Eof) if self.path.is_empty() => return Ok(parsed),
                Ok(Event::Eof) => return Err(self.wrong("the file ends in the middle")),
                Ok(Event::Decl(_) | Event::PI(_) | Event::Comment(_)) => {}
                Err(error) => return Err(self.wrong(error)),
            }
        }
    }

    fn open(&mut self, name: &str, parsed: &mut Parsed) -> Result<(), FormatError> {
        if self.path.len() >= MAX_DEPTH {
            return Err(self.wrong(format!("elements more than {MAX_DEPTH} deep")));
        }
        self.path.push(name.to_owned());
        self.value.clear();
        let line = self.line();
        match self.path.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["annotation"] => {}
            ["annotation", "object"] => parsed.objects.push(Object { line, name: String::new(), edges: [None; 4] }),
            ["annotation", "filename"] => parsed.filename_line = Some(line),
            [_] => return Err(self.wrong("the root is not `<annotation>`")),
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self, parsed: &mut Parsed) {
        let value = std::mem::take(&mut self.value);
        let number = || value.trim().parse::<f64>().ok();
        match self.path.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["annotation", "filename"] => value.trim().clone_into(&mut parsed.filename),
            ["annotation", "size", "width"] => parsed.width = number(),
            ["annotation", "size", "height"] => parsed.height = number(),
            ["annotation", "object", rest @ ..] => {
                let Some(object) = parsed.objects.last_mut() else { return };
                match rest {
                    ["name"] => object.name = value,
                    ["bndbox", "xmin"] => object.edges[0] = number(),
                    ["bndbox", "ymin"] => object.edges[1] = number(),
                    ["bndbox", "xmax"] => object.edges[2] = number(),
                    ["bndbox", "ymax"] => object.edges[3] = number(),
                    _ => {}
                }
            }
            _ => {}
        }
        self.path.pop();
    }
}
