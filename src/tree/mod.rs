//! The one name space.
/// stub
pub struct VaultTree;
impl VaultTree {
    pub(crate) fn new(_: std::sync::Arc<crate::store::Reader>, _: std::sync::Arc<crate::point::Catalog>) -> Self {
        Self
    }
}
