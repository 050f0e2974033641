//! Lists of the drops of a creator or a product.

use ::catalogue::drops::Of;
use domain::terms::DropTerms;
use domain::values::{CatalogueId, Timestamp};
use projections::views::DropView;

use super::DropSelection;
use crate::app::App;
use crate::problem::Problem;
use crate::viewer::Viewer;

/// Drops that are read from the index at a time.
const STEP: usize = 100;

/// The creator and the product of the listed drops; any, if `None`.
#[derive(Debug, Clone, Copy)]
pub(super) struct InCatalogue<'a> {
    pub(super) creator_id: Option<&'a CatalogueId>,
    pub(super) product_id: Option<&'a CatalogueId>,
}

impl<'a> InCatalogue<'a> {
    /// Returns true if the drop has the creator and the product.
    pub(super) fn has(&self, terms: &DropTerms) -> bool {
        let is_creators = |id| terms.creator_id.as_ref() == Some(id);
        let is_products = |id| terms.product_id.as_ref() == Some(id);
        self.creator_id.is_none_or(is_creators) && self.product_id.is_none_or(is_products)
    }

    /// Returns the index to read; `None` if all drops are listed. A product has fewer drops.
    fn index(&self) -> Option<Of<'a>> {
        let product = self.product_id.map(Of::Product);
        product.or_else(|| self.creator_id.map(Of::Creator))
    }
}

impl DropSelection<'_> {
    /// Selects among the drops of a creator or a product, newest first; among all, without either.
    pub(super) fn within(
        &self,
        app: &App,
        of: InCatalogue<'_>,
        now: Timestamp,
    ) -> Result<Vec<DropView>, Problem> {
        let Some(index) = of.index() else {
            return self.all(app, now);
        };
        if self.viewer == Viewer::Staff {
            // The index has only the drops that every list shows.
            self.drop_after(app)?;
            let found = app.views.drops_after(self.after, self.most, |row, _| {
                let is_in_phase = self.phases.is_empty() || self.phases.contains(&row.status(now));
                is_in_phase && of.has(&row.terms)
            });
            return Ok(found);
        }
        let key = |drop: &DropView| (drop.row.scheduled_at, drop.drop_id);
        let mut after = self.drop_after(app)?.map(|drop| key(&drop));
        let mut found = vec![];
        loop {
            let ids = app.catalogue.drops.page(index, after, STEP);
            let is_last = ids.len() < STEP;
            for drop in ids.into_iter().filter_map(|id| app.views.drop(id)) {
                after = Some(key(&drop));
                let phase = drop.row.status(now);
                let is_in_phase = self.phases.is_empty() || self.phases.contains(&phase);
                if is_in_phase && of.has(&drop.row.terms) {
                    found.push(drop);
                }
                if found.len() == self.most {
                    return Ok(found);
                }
            }
            if is_last {
                return Ok(found);
            }
        }
    }
}
