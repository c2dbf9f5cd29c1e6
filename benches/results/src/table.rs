//! Tables that set others beside one.

/// Which of two figures is the better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Seconds, bytes.
    Less,
    /// Anything per second.
    More,
}

/// One figure of every column; nothing where it was not measured.
#[derive(Debug)]
pub struct Row {
    /// What was measured, with its unit.
    pub title: String,
    /// Which way is better.
    pub better: Better,
    /// Digits behind the point.
    pub digits: usize,
    /// A figure for each column. The first column is the one that the others are set beside.
    pub figures: Vec<Option<f64>>,
}

/// A table in Markdown. In brackets: how many times as good the first column is as this one.
pub fn ratios(columns: &[&str], rows: &[Row]) -> String {
    let mut table = line("", columns.iter().map(|column| (*column).to_owned()));
    table += &line("---", columns.iter().map(|_| "---:".to_owned()));
    for row in rows {
        table += &line(&row.title, cells(row).into_iter());
    }
    table
}

/// The one in the middle, or the mean of the two there; nothing of nothing.
pub fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let upper = *figures.get(figures.len() / 2)?;
    if figures.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *figures.get(figures.len() / 2 - 1)?;
    Some((lower + upper) / 2.0)
}

/// A figure with its thousands apart.
pub fn number(figure: f64, digits: usize) -> String {
    let text = format!("{figure:.digits$}");
    let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut parted = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) && !parted.ends_with('-') {
            parted.push(',');
        }
        parted.push(digit);
    }
    parted + fraction
}

fn cells(row: &Row) -> Vec<String> {
    let first = row.figures.first().copied().flatten();
    let cell = |(column, figure): (usize, &Option<f64>)| match (figure, first) {
        (None, _) => "-".to_owned(),
        (Some(figure), Some(first)) if column > 0 => {
            format!("{} ({}x)", number(*figure, row.digits), ratio(row.better, first, *figure))
        }
        (Some(figure), _) => number(*figure, row.digits),
    };
    row.figures.iter().enumerate().map(cell).collect()
}

/// How many times as good the first figure is, to two digits that mean something.
fn ratio(better: Better, first: f64, other: f64) -> String {
    let ratio = match better {
        Better::Less => other / first,
        Better::More => first / other,
    };
    if !ratio.is_finite() {
        return "?".to_owned();
    }
    let digits = if ratio < 1.0 {
        2
    } else if ratio < 10.0 {
        1
    } else {
        0
    };
    number(ratio, digits)
}

fn line(title: &str, cells: impl Iterator<Item = String>) -> String {
    let cells: Vec<String> = cells.collect();
    format!("| {title} | {} |\n", cells.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::{Better, Row, median, number, ratios};

    #[test]
    fn a_ratio_above_one_is_the_first_columns_win_whichever_way_is_better() {
        let row = |title: &str, better, figures| Row { title: title.to_owned(), better, digits: 1, figures };
        let rows = [
            row("backup, s", Better::Less, vec![Some(5.0), Some(21.0), Some(4.0)]),
            row("read, MB/s", Better::More, vec![Some(2400.0), Some(240.0), None]),
        ];
        let expected = "\
            |  | icecore | restic | other |\n\
            | --- | ---: | ---: | ---: |\n\
            | backup, s | 5.0 | 21.0 (4.2x) | 4.0 (0.80x) |\n\
            | read, MB/s | 2,400.0 | 240.0 (10x) | - |\n";
        assert_eq!(ratios(&["icecore", "restic", "other"], &rows), expected);
    }

    #[test]
    fn without_a_first_figure_there_is_no_ratio() {
        let rows = [Row { title: "x".to_owned(), better: Better::Less, digits: 0, figures: vec![None, Some(3.0)] }];
        assert!(ratios(&["icecore", "restic"], &rows).ends_with("| x | - | 3 |\n"));
    }

    #[test]
    fn the_median_lies_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(vec![]), None);
    }

    #[test]
    fn thousands_stand_apart() {
        let numbers = [number(1_234_567.0, 0), number(999.94, 1), number(-123.0, 0), number(-1234.5, 1)];
        assert_eq!(numbers, ["1,234,567", "999.9", "-123", "-1,234.5"]);
    }
}
