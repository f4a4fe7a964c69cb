//! A drawing that remembers what was drawn on it.

use std::convert::Infallible;

use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind,
};

/// Corners that stand for a circle.
const CORNERS: u32 = 24;

/// Red, green and blue.
pub type Colour = (u8, u8, u8);

/// One shape. Places are pixels from the upper left.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// A line through points.
    Line {
        /// Its points.
        points: Vec<(i32, i32)>,
        /// Its width in pixels.
        width: u32,
        /// Its colour.
        colour: Colour,
    },
    /// A filled area.
    Area {
        /// Its corners.
        points: Vec<(i32, i32)>,
        /// Its colour.
        colour: Colour,
    },
    /// Words.
    Text {
        /// They.
        text: String,
        /// Where.
        place: (i32, i32),
        /// Height of the letters in pixels.
        size: f64,
        /// Their colour.
        colour: Colour,
        /// How they lie to their place.
        anchor: Anchor,
    },
}

/// How words lie to their place: shares of their width and height that are left of and above it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Anchor {
    /// 0 for words right of it, 1 for words left of it.
    pub left: f64,
    /// 0 for words below it, 1 for words above it.
    pub above: f64,
}

/// The drawing.
pub(super) struct Recording<'a> {
    size: (u32, u32),
    shapes: &'a mut Vec<Shape>,
}

impl<'a> Recording<'a> {
    pub(super) fn new(size: (u32, u32), shapes: &'a mut Vec<Shape>) -> Self {
        Self { size, shapes }
    }

    fn add(&mut self, colour: BackendColor, shape: impl FnOnce(Colour) -> Shape) {
        if colour.alpha > 0.0 {
            self.shapes.push(shape(on_white(colour)));
        }
    }
}

/// A pale colour as it looks on white ground.
fn on_white(colour: BackendColor) -> Colour {
    let share = colour.alpha.clamp(0.0, 1.0);
    let part = |part: u8| (255.0 - (255.0 - f64::from(part)) * share).round() as u8;
    let (red, green, blue) = colour.rgb;
    (part(red), part(green), part(blue))
}

type Done = Result<(), DrawingErrorKind<Infallible>>;

impl DrawingBackend for Recording<'_> {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        self.size
    }

    fn ensure_prepared(&mut self) -> Done {
        Ok(())
    }

    fn present(&mut self) -> Done {
        Ok(())
    }

    fn draw_pixel(&mut self, (x, y): BackendCoord, colour: BackendColor) -> Done {
        let points = vec![(x, y), (x + 1, y), (x + 1, y + 1), (x, y + 1)];
        self.add(colour, |colour| Shape::Area { points, colour });
        Ok(())
    }

    fn draw_line<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
    ) -> Done {
        self.draw_path([from, to], style)
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        (left, top): BackendCoord,
        (right, bottom): BackendCoord,
        style: &S,
        fill: bool,
    ) -> Done {
        let corners = [(left, top), (right, top), (right, bottom), (left, bottom)];
        match fill {
            true => self.fill_polygon(corners, style),
            false => self.draw_path(corners.into_iter().chain([(left, top)]), style),
        }
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> Done {
        let (points, width) = (path.into_iter().collect(), style.stroke_width());
        self.add(style.color(), |colour| Shape::Line {
            points,
            width,
            colour,
        });
        Ok(())
    }

    fn draw_circle<S: BackendStyle>(
        &mut self,
        (x, y): BackendCoord,
        radius: u32,
        style: &S,
        fill: bool,
    ) -> Done {
        let corner = |at: u32| {
            let angle = f64::from(at) / f64::from(CORNERS) * std::f64::consts::TAU;
            let (sine, cosine) = angle.sin_cos();
            let along = |part: f64| (part * f64::from(radius)).round() as i32;
            (x + along(cosine), y + along(sine))
        };
        match fill {
            true => self.fill_polygon((0..CORNERS).map(corner), style),
            false => self.draw_path((0..=CORNERS).map(corner), style),
        }
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        corners: I,
        style: &S,
    ) -> Done {
        let points = corners.into_iter().collect();
        self.add(style.color(), |colour| Shape::Area { points, colour });
        Ok(())
    }

    fn draw_text<S: BackendTextStyle>(
        &mut self,
        text: &str,
        style: &S,
        place: BackendCoord,
    ) -> Done {
        let anchor = style.anchor();
        let anchor = Anchor {
            left: match anchor.h_pos {
                HPos::Left => 0.0,
                HPos::Center => 0.5,
                HPos::Right => 1.0,
            },
            above: match anchor.v_pos {
                VPos::Top => 0.0,
                VPos::Center => 0.5,
                VPos::Bottom => 1.0,
            },
        };
        let (text, size) = (text.to_owned(), style.size());
        self.add(style.color(), |colour| Shape::Text {
            text,
            place,
            size,
            colour,
            anchor,
        });
        Ok(())
    }
}
