//! Reads of the course of a drop.

use domain::values::DropId;

use super::{DropView, Views};
use crate::drop_course::DropCourse;

impl Views {
    /// Returns a drop and its course, of the same position.
    #[must_use]
    pub fn drop_and_course(&self, drop_id: DropId) -> Option<(DropView, DropCourse)> {
        let hot = self.read();
        let drop = hot.drops.get(drop_id)?;
        let course = hot.courses.get(&drop_id)?;
        Some((DropView::from(drop), course.clone()))
    }
}
