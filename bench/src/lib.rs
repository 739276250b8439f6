//! The benchmark harness and its tokio + axum + heed baseline.
