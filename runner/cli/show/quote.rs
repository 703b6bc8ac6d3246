//! Words of a command, quoted so that a shell reads them back.

/// One word.
pub(crate) fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./_-".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// A whole command.
pub(crate) fn command<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_the_words_back() {
        let words = ["flowrun", "logs", "train[seed=1]", "it's", "", "$HOME `x` \"y\"", "a\nb"];
        let script = format!("printf '%s\\0' {}", command(words));
        let told = std::process::Command::new("sh").args(["-c", &script]).output().expect("sh");
        let read: Vec<String> = String::from_utf8_lossy(&told.stdout).split('\0').map(str::to_owned).collect();
        assert_eq!(&read[..words.len()], &words);
        assert_eq!(command(["flowrun", "run", "a/b.yaml", "--set", "n=1"]), "flowrun run a/b.yaml --set n=1");
    }
}
