/// Makes a test of every case, on a [`Harness`](crate::Harness) of yours.
///
/// The tests are in modules by group, such as `basics::missing_is_none`, next to one named
/// `every_case_is_listed`. Attributes before the harness are put on every case. A second suite in
/// one file goes into a module of its own. The [crate page](crate) has an example.
#[macro_export]
macro_rules! suite {
    ($(#[$attribute:meta])* $harness:ty) => {
        type SuiteHarness = $harness;

        #[test]
        fn every_case_is_listed() {
            $crate::assert_every_case_is_listed();
        }

        $crate::__cases! { ($crate::__suite) [$(#[$attribute])*] }
    };
}

/// The tests of [`suite!`], group by group.
#[doc(hidden)]
#[macro_export]
macro_rules! __suite {
    ($attributes:tt $($group:ident { $($case:ident $([$($need:ident),+])?,)* })*) => {
        $(
            mod $group {
                $($crate::__test! { $attributes $group $case })*
            }
        )*
    };
}

/// One test of [`suite!`].
#[doc(hidden)]
#[macro_export]
macro_rules! __test {
    ([$(#[$attribute:meta])*] $group:ident $case:ident) => {
        $(#[$attribute])*
        #[test]
        fn $case() {
            $crate::run_and_report::<super::SuiteHarness>(stringify!($group), stringify!($case));
        }
    };
}
