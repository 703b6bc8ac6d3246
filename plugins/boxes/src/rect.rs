//! A box in pixels: `xmin`, `ymin` inside, `xmax`, `ymax` just outside, the origin at the top left.

/// A box in whole pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rect {
    /// Left edge.
    pub xmin: i32,
    /// Upper edge.
    pub ymin: i32,
    /// Right edge, one past the last column.
    pub xmax: i32,
    /// Lower edge, one past the last row.
    pub ymax: i32,
}

impl Rect {
    /// A box from its edges.
    #[must_use]
    pub fn new(xmin: i32, ymin: i32, xmax: i32, ymax: i32) -> Self {
        Self { xmin, ymin, xmax, ymax }
    }

    /// A whole picture.
    #[must_use]
    pub fn whole(width: u32, height: u32) -> Self {
        Self::new(0, 0, edge(width), edge(height))
    }

    /// Width, 0 where the edges are swapped.
    #[must_use]
    pub fn width(&self) -> u32 {
        u32::try_from(i64::from(self.xmax) - i64::from(self.xmin)).unwrap_or(0)
    }

    /// Height, 0 where the edges are swapped.
    #[must_use]
    pub fn height(&self) -> u32 {
        u32::try_from(i64::from(self.ymax) - i64::from(self.ymin)).unwrap_or(0)
    }

    /// Area in pixels.
    #[must_use]
    pub fn area(&self) -> u64 {
        u64::from(self.width()) * u64::from(self.height())
    }

    /// The part of it inside `frame`; of no area where there is none.
    #[must_use]
    pub fn clipped(&self, frame: &Self) -> Self {
        Self {
            xmin: self.xmin.clamp(frame.xmin, frame.xmax),
            ymin: self.ymin.clamp(frame.ymin, frame.ymax),
            xmax: self.xmax.clamp(frame.xmin, frame.xmax),
            ymax: self.ymax.clamp(frame.ymin, frame.ymax),
        }
    }

    /// Mirrored left to right in a picture `width` wide.
    #[must_use]
    pub fn flipped(&self, width: u32) -> Self {
        let width = edge(width);
        Self { xmin: width.saturating_sub(self.xmax), xmax: width.saturating_sub(self.xmin), ..*self }
    }

    /// Moved into the frame `crop` of its picture, and with it scaled to `width` x `height`; edges are rounded.
    #[must_use]
    pub fn moved(&self, crop: &Self, width: u32, height: u32) -> Self {
        let x = |value: i32| scaled(value, crop.xmin, crop.width(), width);
        let y = |value: i32| scaled(value, crop.ymin, crop.height(), height);
        Self { xmin: x(self.xmin), ymin: y(self.ymin), xmax: x(self.xmax), ymax: y(self.ymax) }
    }
}

fn edge(side: u32) -> i32 {
    i32::try_from(side).unwrap_or(i32::MAX)
}

#[expect(clippy::cast_possible_truncation, reason = "a float to integer cast saturates")]
fn scaled(value: i32, origin: i32, from: u32, to: u32) -> i32 {
    let part = (f64::from(value) - f64::from(origin)) / f64::from(from.max(1));
    (part * f64::from(to)).round() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flipping_twice_changes_nothing() {
        for xmin in 0..40 {
            let rect = Rect::new(xmin, 3, 40, 9);
            assert_eq!(rect.flipped(41).flipped(41), rect);
            assert_eq!(rect.flipped(41).width(), rect.width());
        }
    }

    #[test]
    fn swapped_edges_have_no_area() {
        assert_eq!(Rect::new(9, 0, 3, 5).area(), 0);
        assert_eq!(Rect::new(i32::MIN, 0, i32::MAX, 1).width(), u32::MAX);
    }

    #[test]
    fn a_box_moves_with_its_crop() {
        let crop = Rect::new(10, 20, 110, 70);
        assert_eq!(Rect::new(10, 20, 60, 70).moved(&crop, 200, 200), Rect::new(0, 0, 100, 200));
        assert_eq!(Rect::new(0, 0, 20, 30).clipped(&crop), Rect::new(10, 20, 20, 30));
    }
}
