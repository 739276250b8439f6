//! A component on its way to the server in pieces, each of which is answered when it is on the
//! server's disk. What is done when one is not answered is not decided here (`cli/install.rs`).

use super::{Client, ClientError};
use crate::api;

impl Client {
    /// All uploads that have begun there.
    pub fn uploads(&self) -> Result<api::Uploads, ClientError> {
        self.get("/v1/uploads")
    }

    /// Begins an upload of `bytes` that are packed by zstd, and will be this application.
    pub fn begin_upload(&self, application: &str, bytes: u64) -> Result<api::Upload, ClientError> {
        let path = self.path(&format!("/v1/uploads?application={application}"));
        let request = self
            .agent
            .post(path)
            .header("upload-length", bytes)
            .header("content-encoding", "zstd");
        self.document(self.signed(request).send_empty())
    }

    /// How far an upload has got.
    pub fn show_upload(&self, id: &str) -> Result<api::Upload, ClientError> {
        self.get(&format!("/v1/uploads/{id}"))
    }

    /// Adds a piece; it is on disk there when this returns.
    pub fn add_to_upload(&self, id: &str, offset: u64, piece: &[u8]) -> Result<(), ClientError> {
        let request = self
            .agent
            .patch(self.path(&format!("/v1/uploads/{id}")))
            .header("content-type", "application/partial-upload")
            .header("upload-offset", offset);
        let (status, text) = self.exchange(self.signed(request).send(piece))?;
        match status {
            204 => Ok(()),
            _ => Err(self.problem(status, &text)),
        }
    }

    /// Makes an application of an upload that has come as a whole.
    pub fn install_upload(
        &self,
        id: &str,
        reuse: Option<&str>,
    ) -> Result<api::Application, ClientError> {
        let mut path = self.path(&format!("/v1/applications?upload={id}"));
        if let Some(reuse) = reuse {
            path.push_str("&reuse=");
            path.push_str(reuse);
        }
        self.document(self.signed(self.agent.post(path)).send_empty())
    }
}
