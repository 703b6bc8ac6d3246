//! The functions that steps compute: as a shell does them, and as the model does.

use crate::support::random::Random;

/// Params that functions may read.
pub(crate) const PARAMS: usize = 2;

/// Lines that a function reads; without a bound, pipelines that join and join again grow without one.
pub(crate) const MOST_LINES: usize = 60;

/// What a step does with the lines of its inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Function {
    Concat,
    Sort,
    Unique,
    First,
    Count,
    Upper,
    /// Reads its inputs and does not care.
    Constant,
    /// Adds the value of a param; in a matrix, of the instance.
    Append(usize),
    /// Leaves out as many lines as a param says.
    Drop(usize),
}

impl Function {
    pub(crate) fn any(random: &mut Random) -> Self {
        match random.below(9) {
            0 => Self::Concat,
            1 => Self::Sort,
            2 => Self::Unique,
            3 => Self::First,
            4 => Self::Count,
            5 => Self::Upper,
            6 => Self::Constant,
            7 => Self::Append(random.below(PARAMS)),
            _ => Self::Drop(random.below(PARAMS)),
        }
    }

    /// The shell's way: reads stdin, writes stdout.
    pub(crate) fn script(self, matrix: bool) -> String {
        match self {
            Self::Concat => "cat".into(),
            Self::Sort => "sort".into(),
            Self::Unique => "sort -u".into(),
            Self::First => "head -n 1".into(),
            Self::Count => "wc -l".into(),
            Self::Upper => "tr a-z A-Z".into(),
            Self::Constant => "wc -l > /dev/null; echo constant".into(),
            Self::Append(_) if matrix => "cat; echo {{ matrix.k }}".into(),
            Self::Append(param) => format!("cat; echo {{{{ params.p{param} }}}}"),
            Self::Drop(param) => format!("tail -n +{{{{ params.p{param} + 1 }}}}"),
        }
    }

    /// The same on text; `of` is the value that the script would render.
    pub(crate) fn apply(self, text: &str, of: Option<i64>) -> String {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        match self {
            Self::Concat => {}
            Self::Sort => lines.sort(),
            Self::Unique => {
                lines.sort();
                lines.dedup();
            }
            Self::First => lines.truncate(1),
            Self::Count => lines = vec![lines.len().to_string()],
            Self::Upper => lines.iter_mut().for_each(|line| line.make_ascii_uppercase()),
            Self::Constant => lines = vec!["constant".to_owned()],
            Self::Append(_) => lines.extend(of.map(|of| of.to_string())),
            Self::Drop(_) => drop(lines.drain(..(of.unwrap_or(0) as usize).min(lines.len()))),
        }
        lines.iter().map(|line| format!("{line}\n")).collect()
    }

    /// What its script shows of params and of the matrix.
    pub(crate) fn of(self, params: &[i64], instance: Option<i64>) -> Option<i64> {
        match (self, instance) {
            (Self::Append(_), Some(value)) => Some(value),
            (Self::Append(param) | Self::Drop(param), _) => Some(params[param]),
            _ => None,
        }
    }

    /// One word for it.
    pub(crate) fn name(self) -> String {
        format!("{self:?}").chars().filter(char::is_ascii_alphanumeric).collect()
    }
}

/// The checksum of POSIX `cksum`: a CRC over the bytes and then their number.
pub(crate) fn cksum(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: u8| {
        let mut crc = crc ^ (u32::from(byte) << 24);
        for _ in 0..8 {
            crc = if crc & 0x8000_0000 == 0 { crc << 1 } else { (crc << 1) ^ 0x04c1_1db7 };
        }
        crc
    };
    let crc = bytes.iter().fold(0, |crc, byte| step(crc, *byte));
    let mut left = bytes.len();
    let mut crc = crc;
    while left > 0 {
        crc = step(crc, left as u8);
        left >>= 8;
    }
    !crc
}

#[test]
fn the_checksum_is_that_of_cksum() {
    assert_eq!(cksum(b""), 4_294_967_295);
    assert_eq!(cksum(b"hello\n"), 3_015_617_425);
}
