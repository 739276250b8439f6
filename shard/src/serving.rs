//! What other shards ask of this one: a closed list, and each answered by the file whose part it is.

use std::rc::Rc;

use crate::message::{Request, Response};
use crate::shard::Shard;

impl Shard {
    /// Does what another shard asks for.
    pub(crate) async fn serve_request(self: &Rc<Self>, request: Request) -> Response {
        match request {
            Request::Call { context, call } => {
                self.stats.hops.one();
                Response::Call(self.counted(self.call_here(context, call).await))
            }
            Request::Query { context, query } => {
                self.stats.hops.one();
                Response::Query(self.query_here(context, query).await)
            }
            Request::Take { context, call } => {
                self.stats.hops.one();
                Response::Take(self.take_here(context, call).await)
            }
            Request::HasEnded { pair, number } => {
                Response::HasEnded(self.has_ended_here(pair, number))
            }
            Request::Hear { by, wanted } => Response::Hear(self.told_here(by, &wanted)),
            Request::HearOf { sources } => {
                let unheard = self.hear_of_here(sources).await;
                Response::HearOf { unheard }
            }
            Request::Create { id, new } => {
                Response::Create(self.counted(self.create_here(id, new).await))
            }
            Request::Upgrade { id, upgrade } => {
                Response::Upgrade(self.counted(self.upgrade_here(id, upgrade).await))
            }
            Request::Delete { id } => Response::Delete(self.counted(self.delete_here(id).await)),
            Request::Release { id } => Response::Release(self.release_here(id).await),
            Request::CancelCalls { id } => Response::CancelCalls(self.cancel_calls_here(id)),
            Request::SetWeight { id, weight } => {
                Response::Show(self.counted(self.set_weight_here(id, weight).await))
            }
            Request::SetMembers { id, members } => {
                Response::SetMembers(self.counted(self.set_members_here(id, members).await))
            }
            Request::Deliver { id, deltas } => {
                Response::Deliver(self.counted(self.deliver_here(id, deltas).await))
            }
            Request::Show { id } => Response::Show(self.show_here(id)),
            Request::Events { id, after, limit } => {
                Response::Events(self.events_here(id, after, limit))
            }
            Request::Attached { id, after, limit } => {
                Response::Attached(self.attached_here(id, after, limit).await)
            }
            Request::Timers { id, after, limit } => {
                Response::Timers(self.timers_here(id, after.as_deref(), limit))
            }
            Request::Sent { id, after, limit } => Response::Sent(self.sent_here(id, after, limit)),
            Request::Subscriptions { id } => Response::Subscriptions(self.subscriptions_here(id)),
            Request::EndSubscriptions { id, which } => {
                Response::EndSubscriptions(self.end_subscriptions_here(id, &which).await)
            }
            Request::GuestLogs { id, after } => {
                Response::GuestLogs(self.guest_logs_here(id, after))
            }
            Request::Statistics { id } => Response::Statistics(self.statistics_here(id)),
            Request::Busiest(question) => Response::Busiest(self.busiest_here(question).await),
            Request::List { after, limit } => Response::List(self.list_here(after, limit)),
            Request::FindUser { application } => {
                Response::FindUser(self.find_user_here(application).await)
            }
            Request::Record(change) => Response::Record(self.record_here(change).await),
            Request::Close(application) => {
                self.directory.close(application);
                Response::Closed
            }
            Request::Reopen(application) => {
                self.directory.reopen(application);
                Response::Closed
            }
            Request::Install { record, reuse } => {
                Response::Record(self.record_application_here(record, reuse).await)
            }
            Request::SetReuse { application, reuse } => {
                Response::Record(self.set_reuse_here(application, reuse).await)
            }
            Request::Learn(change) => {
                self.learn(change).await;
                Response::Learn
            }
        }
    }
}
