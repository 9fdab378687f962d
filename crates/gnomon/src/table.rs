//! A table for a terminal: columns as wide as their widest cell.

use std::fmt;

/// Where the cells of a column stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Left,
    Right,
}

/// Rows of cells under heads.
#[derive(Debug)]
pub(crate) struct Table {
    sides: Vec<Side>,
    /// The heads first.
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty one with these heads.
    pub(crate) fn new<'h>(columns: impl IntoIterator<Item = (&'h str, Side)>) -> Self {
        let (heads, sides) =
            columns.into_iter().map(|(head, side)| (head.to_owned(), side)).unzip();
        Self { sides, rows: vec![heads] }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.sides.len()).map(width).collect();
        for (index, row) in self.rows.iter().enumerate() {
            let mut line = String::new();
            for ((cell, side), width) in row.iter().zip(&self.sides).zip(&widths) {
                let cell = match side {
                    Side::Left => format!("{cell:<width$}  "),
                    Side::Right => format!("{cell:>width$}  "),
                };
                line.push_str(&cell);
            }
            let end = if index + 1 < self.rows.len() { "\n" } else { "" };
            write!(f, "{}{end}", line.trim_end())?;
        }
        Ok(())
    }
}
