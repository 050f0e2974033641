//! Jobs of Web Push in the list of jobs.

use ::push::store as push;

use super::JobKind;
use super::{JobBody, order};
use crate::base_path::at;
use crate::problem::{Code, Problem};

/// The meaning of a message that an administrator has cancelled.
const CANCELLED: &str = "The notification is not sent to browsers that it was not sent to yet. \
                         A retry continues.";
/// The meaning of a message that was given up.
const GIVEN_UP: &str = "The notification was not sent to these browsers; the buyers see it in \
                        their list. A retry sends it again.";

impl From<push::Job> for JobBody {
    fn from(job: push::Job) -> Self {
        let meaning = match job.status.as_str() {
            "failed" if job.is_cancelled => Some(CANCELLED.to_owned()),
            "failed" => Some(GIVEN_UP.to_owned()),
            _ => None,
        };
        // A notification is about a drop or about an order.
        let subject = match (job.order_id, job.drop_id) {
            (Some(order_id), _) => order(order_id.0),
            (None, Some(drop_id)) => at(&format!("/v1/drops/{drop_id}")).into_owned(),
            (None, None) => at("/v1/drops").into_owned(),
        };
        Self {
            id: job.id,
            kind: JobKind::Push,
            subject,
            status: job.status,
            cancelled: job.is_cancelled,
            attempts: job.attempts,
            next_attempt_at: job.next_attempt_at,
            last_error: job.last_error,
            meaning,
            position: job.key.0,
        }
    }
}

/// Returns `None` if the job is not one of Web Push.
pub(super) fn changed(
    changed: push::Changed,
    consequence: &str,
) -> Result<Option<JobBody>, Problem> {
    match changed {
        push::Changed::Done(job) => Ok(Some(JobBody::from(*job))),
        push::Changed::AlreadyDone => {
            let detail = format!("The job is done, {consequence}.");
            Err(Problem::new(Code::JobDone, detail))
        }
        push::Changed::NotFound => Ok(None),
    }
}
