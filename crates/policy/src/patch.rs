//! A change of some settings of a policy. Not named, cleared and set are three things: in
//! JSON an absent key, `null` and a value. This module must never know what is allowed.

use farshore_control::{Compression, Wire};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{InitialMethod, Invalid, OnDisable, Policy, RateWindow, Window};

/// What is to become of one setting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Change<T> {
    /// It stays.
    #[default]
    Keep,
    /// It goes back to its default.
    Clear,
    /// It becomes this.
    Set(T),
}

impl<T> Change<T> {
    /// Whether it stays.
    #[must_use]
    pub fn is_keep(&self) -> bool {
        matches!(self, Change::Keep)
    }

    fn applied(self, old: T, default: T) -> T {
        match self {
            Change::Keep => old,
            Change::Clear => default,
            Change::Set(new) => new,
        }
    }
}

impl<T: Serialize> Serialize for Change<T> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Change::Set(value) => s.serialize_some(value),
            Change::Keep | Change::Clear => s.serialize_none(),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Change<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Change<T>, D::Error> {
        Ok(Option::<T>::deserialize(d)?.map_or(Change::Clear, Change::Set))
    }
}

#[cfg(feature = "schema")]
impl<T: utoipa::PartialSchema> Change<T> {
    /// A value, or `null`.
    fn described() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        let null =
            utoipa::openapi::schema::ObjectBuilder::new().schema_type(utoipa::openapi::schema::Type::Null);
        utoipa::openapi::schema::AnyOfBuilder::new().item(null).item(T::schema()).into()
    }
}

macro_rules! patch {
    ($($(#[$doc:meta])* $field:ident: $kind:ty,)*) => {
        /// A change of some settings of a policy; see [`Policy`] for what each means.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
        #[serde(default, deny_unknown_fields)]
        pub struct PolicyPatch {
            $(
                $(#[$doc])*
                #[serde(skip_serializing_if = "Change::is_keep")]
                #[cfg_attr(feature = "schema", schema(schema_with = Change::<$kind>::described, required = false))]
                pub $field: Change<$kind>,
            )*
        }

        impl PolicyPatch {
            /// Names of the settings that it changes.
            #[must_use]
            pub fn names(&self) -> Vec<&'static str> {
                let mut names = Vec::new();
                $(if !self.$field.is_keep() { names.push(stringify!($field)); })*
                names
            }

            /// The change that makes `new` of `old`.
            #[must_use]
            pub fn between(old: &Policy, new: &Policy) -> PolicyPatch {
                PolicyPatch {
                    $($field: if old.$field == new.$field { Change::Keep } else { Change::Set(new.$field.clone()) },)*
                }
            }

            fn applied(&self, old: &Policy) -> Policy {
                let (change, old, default) = (self.clone(), old.clone(), Policy::default());
                Policy { $($field: change.$field.applied(old.$field, default.$field),)* }
            }
        }
    };
}

patch! {
    /// Copy frequency.
    copy_frequency_secs: u64,
    /// Application-consistent frequency.
    app_consistent_secs: Option<u64>,
    /// How long every point is kept.
    keep_every_point_secs: u64,
    /// How long hourly points are kept.
    keep_hourly_secs: u64,
    /// How long daily points are kept.
    keep_daily_secs: u64,
    /// How many points are kept.
    points_max: u64,
    /// Compression on the wire.
    compression: Compression,
    /// Compression of the replica.
    replica_compression: bool,
    /// Small writes.
    small_writes: bool,
    /// Authentication.
    wire: Wire,
    /// Bandwidth limit.
    bandwidth: Option<u64>,
    /// Its calendar.
    bandwidth_windows: Vec<RateWindow>,
    /// Resync by itself.
    auto_resync: bool,
    /// When.
    resync_window: Option<Window>,
    /// RPO objective.
    rpo_objective_secs: Option<u64>,
    /// Initial copy.
    initial: InitialMethod,
    /// The replica at disabling.
    on_disable: OnDisable,
    /// New machines.
    auto_protect: bool,
}

impl PolicyPatch {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names().is_empty()
    }

    /// What it makes of a policy.
    ///
    /// # Errors
    /// [`Invalid`] with everything that is wrong with the result; nothing is changed then.
    pub fn apply(&self, old: &Policy) -> Result<Policy, Invalid> {
        let new = self.applied(old);
        new.check()?;
        Ok(new)
    }
}
