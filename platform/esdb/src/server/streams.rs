//! The service `Streams`: which call goes where.

use std::{pin::Pin, sync::Arc};

use futures::Stream;
use tonic::{Request, Response, Status, Streaming};

use crate::server::{
    Shared, appending, following, reading,
    wire::streams::{
        AppendReq, AppendResp, BatchAppendReq, BatchAppendResp, ReadReq, ReadResp,
        read_req::options::CountOption, streams_server::Streams,
    },
};

/// Answers, one after the other.
pub(crate) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

pub(crate) struct Service(pub(crate) Arc<Shared>);

#[tonic::async_trait]
impl Streams for Service {
    type ReadStream = Answers<ReadResp>;

    async fn read(&self, request: Request<ReadReq>) -> Result<Response<Self::ReadStream>, Status> {
        let options = request
            .into_inner()
            .options
            .ok_or_else(|| Status::invalid_argument("a read has options"))?;
        let shared = Arc::clone(&self.0);
        let answers = match options.count_option {
            Some(CountOption::Count(count)) => reading::read(shared, options, count)?,
            Some(CountOption::Subscription(_)) => following::subscribe(shared, options).await?,
            None => {
                return Err(Status::invalid_argument(
                    "a read has a count or is a subscription",
                ));
            }
        };
        Ok(Response::new(answers))
    }

    async fn append(
        &self,
        request: Request<Streaming<AppendReq>>,
    ) -> Result<Response<AppendResp>, Status> {
        appending::append(&self.0, request.into_inner())
            .await
            .map(Response::new)
    }

    type BatchAppendStream = Answers<BatchAppendResp>;

    async fn batch_append(
        &self,
        request: Request<Streaming<BatchAppendReq>>,
    ) -> Result<Response<Self::BatchAppendStream>, Status> {
        Ok(Response::new(appending::batch::session(
            Arc::clone(&self.0),
            request.into_inner(),
        )))
    }
}
