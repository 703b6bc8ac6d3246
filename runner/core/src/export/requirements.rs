//! An environment as `requirements.txt`, in the words that pip and uv both read.

use super::Environment;

/// The file. Each package has the sha256 of its one file, so that it is that file or none.
pub fn requirements(environment: &Environment<'_>) -> String {
    let mut text = format!(
        "# {}.\n# Made by `flowrun export requirements`: do not edit it. To install just that, and nothing else:\n\
         #   uv pip sync --require-hashes requirements.txt\n\
         #   pip install --require-hashes --no-deps -r requirements.txt\n--only-binary :all:\n",
        environment.title()
    );
    environment.built().for_each(|package| text.push_str(&format!("--no-binary {}\n", package.name)));
    text.push('\n');
    environment.packages.iter().for_each(|package| text.push_str(&format!("{}\n", package.index_line())));
    text
}
