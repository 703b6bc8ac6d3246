//! How a step is divided, and how its parts become one again: what of it is pure.
//!
//! A file's part is a hash of its path, so that a file that comes or goes changes one part and leaves the others, and their cached results,
//! as they are. It must never change: every part's key depends on it.

use serde_json::{Number, Value as Json};

use super::Fold;
use crate::digest::Digest;

/// The part that a file belongs to, by its path in the divided folder, with `/`.
pub fn part_of(path: &str, count: u32) -> u32 {
    let digest = Digest::of(path.as_bytes());
    let head = digest.as_bytes().iter().take(8).fold(0u64, |number, byte| (number << 8) | u64::from(*byte));
    (head % u64::from(count.max(1))) as u32
}

/// What a part is called among the others, in their order: `03of16`.
pub fn label(index: u32, count: u32) -> String {
    let width = count.to_string().len();
    format!("{:0width$}of{count}", index + 1)
}

/// The value of all parts, in their order.
///
/// # Errors
/// When they cannot become one by this rule.
pub fn fold(rule: Fold, values: &[Json]) -> Result<Json, String> {
    match rule {
        Fold::Same => {
            match values {
                [first, rest @ ..] if rest.iter().all(|value| value == first) => Ok(first.clone()),
                [] => Ok(Json::Null),
                _ => Err("the parts give different ones, and the plugin's manifest does not say how they become one"
                    .to_owned()),
            }
        }
        Fold::List => Ok(values
            .iter()
            .flat_map(|value| match value {
                Json::Array(items) => items.clone(),
                other => vec![other.clone()],
            })
            .collect()),
        Fold::Sum => sum(&numbers(values)?),
        Fold::Min => pick(&numbers(values)?, |new, old| new < old),
        Fold::Max => pick(&numbers(values)?, |new, old| new > old),
    }
}

fn numbers(values: &[Json]) -> Result<Vec<&Number>, String> {
    fn number(value: &Json) -> Result<&Number, String> {
        match value {
            Json::Number(number) => Ok(number),
            other => Err(format!("{other} is not a number")),
        }
    }
    values.iter().map(number).collect()
}

/// Whole numbers stay whole; where one is not, all are added as decimals, in the parts' order.
fn sum(numbers: &[&Number]) -> Result<Json, String> {
    let whole: Option<i128> = numbers.iter().map(|number| number.as_i128()).sum();
    let whole = whole.and_then(|sum| i64::try_from(sum).ok());
    match whole {
        Some(sum) => Ok(sum.into()),
        None => {
            let sum: f64 = numbers.iter().filter_map(|number| number.as_f64()).sum();
            Number::from_f64(sum).map(Json::Number).ok_or_else(|| "their sum is not a number".to_owned())
        }
    }
}

fn pick(numbers: &[&Number], better: fn(f64, f64) -> bool) -> Result<Json, String> {
    let best = numbers.iter().copied().reduce(|best, number| {
        let (new, old) = (number.as_f64().unwrap_or(f64::NAN), best.as_f64().unwrap_or(f64::NAN));
        if better(new, old) { number } else { best }
    });
    Ok(best.map_or(Json::Null, |number| Json::Number(number.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_part_of_a_file_never_changes() {
        let parts: Vec<u32> =
            ["train/a.jpg", "train/b.jpg", "c.jpg", ""].iter().map(|path| part_of(path, 16)).collect();
        assert_eq!(parts, PARTS);
        assert_eq!(label(0, 16), "01of16");
        assert_eq!(label(1023, 1024), "1024of1024");
    }

    /// Written down once: results are cached by it.
    const PARTS: [u32; 4] = [6, 13, 12, 6];

    #[test]
    fn values_become_one_by_their_rule() {
        let one = |rule, values: Json| fold(rule, values.as_array().expect("list"));
        assert_eq!(one(Fold::Sum, json!([1, 2, 3])), Ok(json!(6)));
        assert_eq!(one(Fold::Sum, json!([1, 0.5])), Ok(json!(1.5)));
        assert_eq!(one(Fold::Sum, json!([i64::MAX, 1])), Ok(json!(i64::MAX as f64 + 1.0)));
        assert_eq!(one(Fold::Min, json!([3, 1.5, 2])), Ok(json!(1.5)));
        assert_eq!(one(Fold::Max, json!([3, 1.5, 2])), Ok(json!(3)));
        assert_eq!(one(Fold::List, json!([["a"], "b", []])), Ok(json!(["a", "b"])));
        assert_eq!(one(Fold::Same, json!([["a"], ["a"]])), Ok(json!(["a"])));
        assert!(one(Fold::Same, json!([1, 2])).is_err());
        assert!(one(Fold::Sum, json!([1, "2"])).is_err());
    }
}
