//! A colour for each class: eight that are told apart by most eyes, on light and dark ground, then hues at the golden angle.
//! Red and amber are left out of the eight: they mean wrong and missed.

use crate::html::put;

/// On light ground (and over pictures), on dark ground, and whether text on the first is dark.
const FIRST: [(&str, &str, bool); 8] = [
    ("#2a78d6", "#5b9dee", false),
    ("#e0601f", "#f0824a", false),
    ("#128a5f", "#35b98a", false),
    ("#6a4fd8", "#a394f5", false),
    ("#e06fa0", "#ee8fb8", true),
    ("#7cae1c", "#9cc94a", true),
    ("#0e94ab", "#3fbfd4", false),
    ("#8a5a34", "#c99a70", false),
];

/// The style rules `.k0`, `.k1` … for this many classes: `--k` for charts, `--p` over pictures, `--t` for text on `--p`.
pub(crate) fn rules(classes: usize) -> String {
    let mut out = String::new();
    for class in 0..classes {
        match FIRST.get(class) {
            Some((light, dark, dark_text)) => {
                let text = if *dark_text { "#14180f" } else { "#fff" };
                put!(out, ".k{class}{{--k:light-dark({light},{dark});--p:{light};--t:{text}}}\n");
            }
            None => {
                let hue = (class * 137) % 360;
                let (light, dark) = (format!("hsl({hue} 62% 40%)"), format!("hsl({hue} 65% 65%)"));
                put!(out, ".k{class}{{--k:light-dark({light},{dark});--p:{light};--t:#fff}}\n");
            }
        }
    }
    out
}
