//! The programs that a shell script may call, by its words.
//!
//! A step finds only programs that are leaves of its key, so they must be known before it runs. A shell script is not parsed for that: every
//! word that could be a command counts, wherever it stands, and the engine keeps those that name a program. One too many costs a
//! needless run when that program changes; one too few would fail the step. What no word shows (a program that a Python file starts, or whose
//! name is put together) is declared under `tools`.
//!
//! | in the script | words |
//! |---|---|
//! | `sort -u in/a.txt \| head` | `sort`, `head` |
//! | `sh -c "gzip < x"`, `$(date)` | `sh`, `gzip`, `x`, `date` |
//! | `CC=gcc make` | `gcc`, `make` |
//! | `--split=train`, `$sort`, `# sort` | none |
//! | `echo a`, `cd b` | `a`, `b`: what the shell does itself is no program |
//! | `xargs echo` | `xargs`, `echo`: what runs others runs no builtins |
//!
//! Knows nothing of which programs there are.

/// Words that the shell itself means (POSIX, 2.4 and 2.15): as programs of the same name they count only where another program starts them.
const BUILTINS: [&str; 49] = [
    "alias", "bg", "break", "case", "cd", "command", "continue", "do", "done", "echo", "elif", "else", "esac", "eval",
    "exec", "exit", "export", "false", "fc", "fg", "fi", "for", "getopts", "hash", "if", "in", "jobs", "kill", "local",
    "printf", "pwd", "read", "readonly", "return", "set", "shift", "test", "then", "times", "trap", "true", "type",
    "ulimit", "umask", "unalias", "unset", "until", "wait", "while",
];

/// Programs that start the program which their words name.
const STARTERS: [&str; 15] = [
    "chroot", "env", "find", "flock", "ionice", "nice", "nohup", "parallel", "setsid", "stdbuf", "strace", "taskset",
    "time", "timeout", "xargs",
];

/// Programs that call others whose names nobody writes.
const COMPANIONS: [(&[&str], &[&str]); 2] = [
    (&["tar"], &["bzip2", "gzip", "xz", "zstd"]),
    (&["c++", "cc", "clang", "clang++", "g++", "gcc", "gfortran"], &["as", "ld"]),
];

/// The programs that this one calls by itself, where there are such: the packers of `tar`, a compiler's assembler and linker.
pub fn companions(program: &str) -> impl Iterator<Item = &'static str> {
    let of = COMPANIONS.iter().filter(move |(programs, _)| programs.contains(&program));
    of.flat_map(|(_, companions)| companions.iter().copied())
}

/// Whether `tools` may hold this: a plain name, or an absolute path.
pub fn is_tool(text: &str) -> bool {
    let plain = text.chars().all(|c| !is_space(c) && !c.is_control() && c != ':');
    let absolute = text.starts_with('/') && text.len() > 1 && !text.ends_with('/');
    plain && !text.is_empty() && (absolute || crate::artifact::is_component(text))
}

/// The words of a script that may be programs: names, and absolute paths. Each once, in order.
pub fn words(script: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for piece in script.lines().flat_map(|line| pieces(without_comment(line))) {
        match piece.bytes().any(|byte| matches!(byte, b'{' | b'$' | b'=')) {
            true => found.extend(without_variables(piece).flat_map(of_assignment).filter(|word| is_word(word))),
            false => found.extend(Some(piece).filter(|word| is_word(word))),
        }
    }
    found.sort_unstable();
    found.dedup();
    if !found.iter().any(|word| STARTERS.binary_search(word).is_ok()) {
        found.retain(|word| BUILTINS.binary_search(word).is_err());
    }
    found
}

/// A line up to a `#` that begins a word outside quotes. A quote that is not closed on its line hides the rest, so that nothing is lost.
fn without_comment(line: &str) -> &str {
    if !line.contains('#') {
        return line;
    }
    let mut quote = None;
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (None, '#') if before.is_whitespace() || before == ';' => return &line[..at],
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
        before = c;
    }
    line
}

/// What stands between what separates words, quotes too: `sh -c "sort x"` holds `sort`.
fn pieces(line: &str) -> impl Iterator<Item = &str> {
    let ends = |c: char| {
        is_space(c) || matches!(c, ';' | '|' | '&' | '(' | ')' | '}' | '<' | '>' | '"' | '\'' | '`' | '\\' | '!')
    };
    line.split(ends).filter(|piece| !piece.is_empty())
}

/// What follows a `$` is a variable: `a$b` is `a`, `${b` is nothing, `{b` is `b`.
fn without_variables(piece: &str) -> impl Iterator<Item = &str> {
    let mut after_dollar = false;
    piece.split('{').filter_map(move |part| {
        if std::mem::replace(&mut after_dollar, part.ends_with('$')) {
            // What stands for a variable that is not set: `${PYTHON:-python3}`.
            return part.split_once(":-").or_else(|| part.split_once(":=")).map(|(_, instead)| instead);
        }
        Some(part.split_once('$').map_or(part, |(before, _)| before))
    })
}

/// `NAME=word` holds both; `--flag=word` is an option.
fn of_assignment(piece: &str) -> impl Iterator<Item = &str> {
    let (first, second) = match piece.split_once('=') {
        Some((name, value)) if !name.starts_with('-') => (name, Some(value)),
        _ => (piece, None),
    };
    std::iter::once(first).chain(second)
}

/// As [`char::is_whitespace`], without a look into its tables for what nearly all scripts are written in.
fn is_space(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_whitespace() || c == '\x0b' } else { c.is_whitespace() }
}

fn is_word(word: &str) -> bool {
    let begins = word.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '['));
    let absolute = word.starts_with('/');
    begins
        && (absolute || !word.contains('/'))
        && is_tool(word)
        && word.chars().any(|c| c.is_ascii_alphabetic() || c == '[')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_are_what_could_be_commands() {
        let told = [
            ("sort -u in/a.txt | head -5", vec!["head", "sort"]),
            ("sh -c \"gzip < x\" > $(date)", vec!["date", "gzip", "sh", "x"]),
            ("CC=gcc make -j2 --split=train all", vec!["CC", "all", "gcc", "make"]),
            ("echo a; cd b && test -e c", vec!["a", "b", "c"]),
            ("find . | xargs echo # sort it", vec!["echo", "find", "xargs"]),
            ("cat \"$sort\" ${uniq} 'it''s # no comment'", vec!["cat", "comment", "it", "no", "s"]),
            ("/usr/bin/env python3.11 ./mine.sh a/b", vec!["/usr/bin/env", "python3.11"]),
            ("for i in a; do { sort; }; done > ${x}${y}/{b,c}", vec!["a", "b,c", "i", "sort"]),
            ("${PYTHON:-python3} -c x", vec!["python3", "x"]),
            ("if grep -q x f; then wc -l f; fi", vec!["f", "grep", "wc", "x"]),
            ("ls\\\n  -l 123", vec!["ls"]),
        ];
        for (script, expected) in told {
            assert_eq!(words(script), expected, "{script}");
        }
    }

    #[test]
    fn what_is_looked_for_in_a_list_stands_in_order() {
        assert!(BUILTINS.is_sorted() && STARTERS.is_sorted());
        assert!((0..0x3000).filter_map(char::from_u32).all(|c| is_space(c) == c.is_whitespace()));
    }

    #[test]
    fn some_programs_bring_others() {
        assert_eq!(companions("gcc").collect::<Vec<_>>(), ["as", "ld"]);
        assert_eq!(companions("sort").count(), 0);
    }

    #[test]
    fn a_tool_is_a_name_or_an_absolute_path() {
        assert!(["ffmpeg", "g++", "python3.11", "/opt/x/bin/tool"].into_iter().all(is_tool));
        assert!(!["", "a b", "./x", "a/b", "/", "/x/", "..", "a:b", "a\n"].into_iter().any(is_tool));
    }

    proptest! {
        #[test]
        fn any_script_has_words_that_are_tools(script in "\\PC{0,80}") {
            prop_assert!(words(&script).into_iter().all(is_tool));
        }

        /// A command in its plainest place is always found.
        #[test]
        fn a_command_is_found(before in "[a-z$\"'|;&() \n]{0,20}", name in "[a-z]{9,12}") {
            let script = format!("{before}\n{name} -x");
            prop_assert!(words(&script).contains(&name.as_str()));
        }
    }
}
