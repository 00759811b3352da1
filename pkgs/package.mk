# Installing and packaging. Included by the Makefile at the top; it also works
# alone: make -f pkgs/package.mk install DESTDIR=/tmp/root
#
#   install          what is built in TARGET_DIR, with all files, below DESTDIR
#   deb rpm          packages into target/deb and target/rpm. KX_PREBUILT=1 takes
#                    the binaries of TARGET_DIR instead of building from source
#   lint-man         mandoc on every manual page
#   lint-packages    shellcheck, the unit's score, lintian on target/deb, rpmlint on the spec
#   test-packages    the tests of interop-tests/packages

KX_ROOT := $(abspath $(dir $(lastword $(MAKEFILE_LIST)))/..)
KX_VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' $(KX_ROOT)/Cargo.toml | head -n 1)

DESTDIR ?=
PREFIX ?= /usr
SYSCONFDIR ?= /etc
LIBDIR ?= $(PREFIX)/lib
UNITDIR ?= $(PREFIX)/lib/systemd/system
TARGET_DIR ?= target/release
# A relative TARGET_DIR is one of this tree, wherever make was started.
KX_BUILT := $(if $(filter /%,$(TARGET_DIR)),$(TARGET_DIR),$(KX_ROOT)/$(TARGET_DIR))
KX_PACKAGES := -p kxd -p kxc -p kxgencert -p libkx -p tcpcryptd -p libtcpcrypt -p tcnetstat -p tcs -p keysrv -p kx-hsm -p kx-vcard -p isakmpd -p keynote

# What a program needs that is linked to libkx.a: OpenSSL, and what
# `rustc --print native-static-libs` says.
KX_LIBS_PRIVATE := -lpcsclite -lssl -lcrypto -lgcc_s -lutil -lrt -lpthread -lm -ldl -lc

# And one that is linked to libtcpcrypt.a.
KX_TCPCRYPT_LIBS_PRIVATE := -lgcc_s -lutil -lrt -lpthread -lm -ldl -lc

CARGO ?= cargo
INSTALL ?= install
# dh gives its commands an empty home, where cargo would start from nothing.
export CARGO_HOME ?= $(HOME)/.cargo
export RUSTUP_HOME ?= $(HOME)/.rustup

KX_D := $(DESTDIR)$(PREFIX)
KX_SRC := $(KX_ROOT)/libkx/kxd
KX_TCP := $(KX_ROOT)/libtcpcrypt-compat
KX_TCPD := $(KX_TCP)/tcpcryptd
KX_KS := $(KX_ROOT)/libkx/keysrv
KX_HSM := $(KX_ROOT)/libkx/kx-hsm
KX_KS_PROGRAMS := keysrv keyfs passwd logind createsignerkey mkauthinfo getauthinfo changelogin \
	convpasswd getpk ai2key signer countersigner verify listen svc-auth
KX_KS_UNITS := svc-auth.service inferno-keyfs.service inferno-keysrv.socket inferno-keysrv@.service \
	inferno-logind.socket inferno-logind@.service
# Files that name /usr name PREFIX once they are installed.
kx_install_text = sed 's,/usr/,$(PREFIX)/,g' '$(2)' > '$(3)' && chmod $(1) '$(3)'

KX_MAN := $(wildcard $(KX_ROOT)/libkx/kxd/man/*.1 $(KX_ROOT)/libkx/kxc/man/*.1 $(KX_ROOT)/libkx/kxgencert/man/*.1)
KX_TCP_MAN8 := $(wildcard $(KX_TCP)/*/man/*.8)
KX_TCP_MAN3 := $(wildcard $(KX_TCP)/*/man/*.3)
KX_KS_MAN1 := $(wildcard $(KX_KS)/man/*.1)
KX_KS_MAN8 := $(wildcard $(KX_KS)/man/*.8)
KX_HSM_MAN1 := $(wildcard $(KX_HSM)/man/*.1)
KX_HSM_MAN7 := $(wildcard $(KX_HSM)/man/*.7)
KX_IKE := $(KX_ROOT)/isakmpd-compat/isakmpd
KX_IKE_MAN := $(wildcard $(KX_IKE)/man/*)
KX_IKE_SAMPLES := $(notdir $(wildcard $(KX_IKE)/samples/*))
KX_SHELL := $(wildcard $(KX_SRC)/scripts/* $(KX_SRC)/initramfs/hook $(KX_SRC)/initramfs/premount \
	$(KX_SRC)/dracut/95kxc/* $(KX_TCPD)/scripts/* $(KX_ROOT)/interop-tests/packages/* \
	$(KX_ROOT)/interop-tests/kernel-vm $(KX_ROOT)/interop-tests/tests/*/*.sh)

.PHONY: install install-programs install-library install-system install-docs install-tcpcrypt \
	install-libtcpcrypt install-keysrv install-hsm install-vcard install-isakmpd deb rpm lint-man lint-shell lint-units lint-symbols lint-packages test-packages

install: install-programs install-library install-system install-docs install-tcpcrypt install-libtcpcrypt install-keysrv install-hsm install-vcard install-isakmpd ## everything in TARGET_DIR, below DESTDIR

install-programs:
	$(INSTALL) -d $(KX_D)/bin $(KX_D)/libexec/kxc $(KX_D)/share/man/man1
	$(INSTALL) -m 755 $(KX_BUILT)/kxd $(KX_BUILT)/kxc $(KX_BUILT)/kxgencert $(KX_D)/bin/
	$(INSTALL) -m 755 $(addprefix $(KX_SRC)/scripts/,create-kxd-config kxd-add-client-key \
		kxc-add-key kxc-cryptsetup) $(KX_D)/bin/
	$(call kx_install_text,755,$(KX_SRC)/scripts/kxc-answer-socket,$(KX_D)/libexec/kxc/kxc-answer-socket)
	$(INSTALL) -m 644 $(KX_MAN) $(KX_D)/share/man/man1/

# The soname, libkx.so.0, comes from the build; the version behind it is ours.
install-library:
	$(INSTALL) -d $(DESTDIR)$(LIBDIR)/pkgconfig $(KX_D)/include
	$(INSTALL) -m 644 $(KX_BUILT)/libkx.so $(DESTDIR)$(LIBDIR)/libkx.so.0.$(KX_VERSION:0.%=%)
	ln -sf libkx.so.0.$(KX_VERSION:0.%=%) $(DESTDIR)$(LIBDIR)/libkx.so.0
	ln -sf libkx.so.0 $(DESTDIR)$(LIBDIR)/libkx.so
	$(INSTALL) -m 644 $(KX_BUILT)/libkx.a $(DESTDIR)$(LIBDIR)/
	$(INSTALL) -m 644 $(KX_ROOT)/include/kx.h $(KX_D)/include/
	sed -e 's,@PREFIX@,$(PREFIX),' -e 's,@LIBDIR@,$(LIBDIR),' -e 's,@INCLUDEDIR@,$(PREFIX)/include,' \
		-e 's,@VERSION@,$(KX_VERSION),' -e 's,@LIBS_PRIVATE@,$(KX_LIBS_PRIVATE),' \
		$(KX_ROOT)/libkx/libkx/kx.pc.in > $(DESTDIR)$(LIBDIR)/pkgconfig/kx.pc

install-system:
	$(INSTALL) -d $(DESTDIR)$(SYSCONFDIR)/default $(DESTDIR)$(SYSCONFDIR)/init.d $(DESTDIR)$(UNITDIR) \
		$(KX_D)/lib/sysusers.d $(KX_D)/share/kxd $(KX_D)/share/initramfs-tools/hooks \
		$(KX_D)/share/initramfs-tools/conf-hooks.d $(KX_D)/share/initramfs-tools/scripts/init-premount \
		$(KX_D)/lib/dracut/modules.d/95kxc
	$(INSTALL) -m 644 $(KX_ROOT)/pkgs/etc/default-kxd $(DESTDIR)$(SYSCONFDIR)/default/kxd
	$(INSTALL) -m 755 $(KX_ROOT)/pkgs/etc/init.d-kxd $(DESTDIR)$(SYSCONFDIR)/init.d/kxd
	for unit in kxd.service kxd.socket kxc@.service kxc@.socket; do \
		sed 's,/usr/,$(PREFIX)/,g' $(KX_ROOT)/pkgs/systemd/$$unit > $(DESTDIR)$(UNITDIR)/$$unit && \
		chmod 644 $(DESTDIR)$(UNITDIR)/$$unit || exit 1; \
	done
	$(INSTALL) -m 644 $(KX_ROOT)/pkgs/systemd/run-as-root.conf $(KX_D)/share/kxd/
	$(INSTALL) -m 644 $(KX_ROOT)/pkgs/systemd/kxd.sysusers $(KX_D)/lib/sysusers.d/kxd.conf
	$(call kx_install_text,755,$(KX_SRC)/initramfs/hook,$(KX_D)/share/initramfs-tools/hooks/kxc)
	$(INSTALL) -m 644 $(KX_SRC)/initramfs/conf-hook $(KX_D)/share/initramfs-tools/conf-hooks.d/kxc
	$(INSTALL) -m 755 $(KX_SRC)/initramfs/premount \
		$(KX_D)/share/initramfs-tools/scripts/init-premount/kxc-premount-net
	$(call kx_install_text,755,$(KX_SRC)/dracut/95kxc/module-setup.sh,$(KX_D)/lib/dracut/modules.d/95kxc/module-setup.sh)
	$(INSTALL) -m 755 $(KX_SRC)/dracut/95kxc/kxc-unlock.sh $(KX_D)/lib/dracut/modules.d/95kxc/

install-docs:
	$(INSTALL) -d $(KX_D)/share/doc/kxd/examples $(KX_D)/share/doc/kxc
	$(INSTALL) -m 644 $(KX_ROOT)/pkgs/docs/coming-from-kxd.md $(KX_D)/share/doc/kxd/
	$(INSTALL) -m 755 $(KX_SRC)/scripts/hook.example $(KX_D)/share/doc/kxd/examples/hook
	$(INSTALL) -m 644 $(KX_ROOT)/pkgs/docs/quick_start.md $(KX_ROOT)/pkgs/docs/cryptsetup.README \
		$(KX_ROOT)/pkgs/docs/coming-from-kxd.md $(KX_ROOT)/README.md $(KX_D)/share/doc/kxc/

# The programs go where the original's Makefile puts them, bin; it installs no scripts.
install-tcpcrypt:
	$(INSTALL) -d $(KX_D)/bin $(KX_D)/share/man/man8 $(KX_D)/share/tcpcryptd $(KX_D)/lib/sysusers.d \
		$(KX_D)/lib/tmpfiles.d $(DESTDIR)$(SYSCONFDIR)/default $(DESTDIR)$(UNITDIR)
	$(INSTALL) -m 755 $(addprefix $(KX_BUILT)/,tcpcryptd tcnetstat tcs) $(KX_D)/bin/
	$(INSTALL) -m 644 $(KX_TCP_MAN8) $(KX_D)/share/man/man8/
	for script in launch_tcpcryptd.sh iptables.sh; do \
		$(call kx_install_text,755,$(KX_TCPD)/scripts/'$$script',$(KX_D)/share/tcpcryptd/'$$script') || exit 1; \
	done
	$(call kx_install_text,644,$(KX_TCPD)/tcpcryptd.service,$(DESTDIR)$(UNITDIR)/tcpcryptd.service)
	$(INSTALL) -m 644 $(KX_TCPD)/tcpcryptd.default $(DESTDIR)$(SYSCONFDIR)/default/tcpcryptd
	$(INSTALL) -m 644 $(KX_TCPD)/tcpcryptd.sysusers $(KX_D)/lib/sysusers.d/tcpcryptd.conf
	$(INSTALL) -m 644 $(KX_TCPD)/tcpcryptd.tmpfiles $(KX_D)/lib/tmpfiles.d/tcpcryptd.conf
	$(INSTALL) -d $(KX_D)/share/doc/tcpcryptd/examples/tcpcrypt
	$(INSTALL) -m 644 $(KX_ROOT)/docs/tcpcrypt.md $(KX_D)/share/doc/tcpcryptd/
	$(INSTALL) -m 644 $(wildcard $(KX_ROOT)/docs/examples/tcpcrypt/*) $(KX_D)/share/doc/tcpcryptd/examples/tcpcrypt/

# File names, links and soname are the original's.
install-libtcpcrypt:
	$(INSTALL) -d $(DESTDIR)$(LIBDIR)/pkgconfig $(KX_D)/include/tcpcrypt $(KX_D)/share/man/man3
	$(INSTALL) -m 644 $(KX_BUILT)/libtcpcrypt.so $(DESTDIR)$(LIBDIR)/libtcpcrypt.so.0.0.0
	ln -sf libtcpcrypt.so.0.0.0 $(DESTDIR)$(LIBDIR)/libtcpcrypt.so.0
	ln -sf libtcpcrypt.so.0.0.0 $(DESTDIR)$(LIBDIR)/libtcpcrypt.so
	$(INSTALL) -m 644 $(KX_BUILT)/libtcpcrypt.a $(DESTDIR)$(LIBDIR)/
	$(INSTALL) -m 644 $(KX_ROOT)/include/tcpcrypt/tcpcrypt.h $(KX_D)/include/tcpcrypt/
	$(INSTALL) -m 644 $(KX_TCP_MAN3) $(KX_D)/share/man/man3/
	for name in getsessid getsockopt setparam setsockopt; do \
		echo '.so man3/tcpcrypt.3' > $(KX_D)/share/man/man3/tcpcrypt_$$name.3 || exit 1; \
	done
	sed -e 's,@PREFIX@,$(PREFIX),' -e 's,@LIBDIR@,$(LIBDIR),' -e 's,@INCLUDEDIR@,$(PREFIX)/include,' \
		-e 's,@VERSION@,$(KX_VERSION),' -e 's,@LIBS_PRIVATE@,$(KX_TCPCRYPT_LIBS_PRIVATE),' \
		$(KX_TCP)/libtcpcrypt/tcpcrypt.pc.in > $(DESTDIR)$(LIBDIR)/pkgconfig/tcpcrypt.pc

# The software card. It belongs to nobody's boot: no unit, no user.
install-vcard:
	$(INSTALL) -d $(KX_D)/bin $(KX_D)/share/man/man8
	$(INSTALL) -m 755 $(KX_BUILT)/kx-vcard $(KX_D)/bin/
	$(INSTALL) -m 644 $(KX_ROOT)/libkx/kx-vcard/man/kx-vcard.8 $(KX_D)/share/man/man8/

# One program under all its names, out of the PATH: some are those of other programs. Pages of several
# programs are found by each of them.
install-keysrv:
	$(INSTALL) -d $(KX_D)/bin $(KX_D)/libexec/inferno-auth $(KX_D)/share/man/man1 $(KX_D)/share/man/man8 \
		$(KX_D)/lib/sysusers.d $(DESTDIR)$(SYSCONFDIR)/default $(DESTDIR)$(UNITDIR)
	$(INSTALL) -m 755 $(KX_BUILT)/inferno-auth $(KX_D)/bin/
	for name in $(KX_KS_PROGRAMS); do \
		ln -sf ../../bin/inferno-auth $(KX_D)/libexec/inferno-auth/$$name || exit 1; \
	done
	$(INSTALL) -m 644 $(KX_KS_MAN1) $(KX_D)/share/man/man1/
	$(INSTALL) -m 644 $(KX_KS_MAN8) $(KX_D)/share/man/man8/
	echo '.so man1/inferno-auth-passwd.1' > $(KX_D)/share/man/man1/inferno-auth-getauthinfo.1
	for pair in svc-auth:listen keysrv:logind changelogin:convpasswd createsignerkey:mkauthinfo \
		createsignerkey:getpk createsignerkey:ai2key signer:countersigner signer:verify; do \
		echo ".so man8/inferno-auth-$${pair%:*}.8" > \
			$(KX_D)/share/man/man8/inferno-auth-$${pair#*:}.8 || exit 1; \
	done
	for unit in $(KX_KS_UNITS); do \
		$(call kx_install_text,644,$(KX_ROOT)/pkgs/systemd/'$$unit',$(DESTDIR)$(UNITDIR)/'$$unit') || exit 1; \
	done
	$(INSTALL) -m 644 $(KX_ROOT)/pkgs/etc/default-inferno-auth $(DESTDIR)$(SYSCONFDIR)/default/inferno-auth
	$(INSTALL) -m 644 $(KX_ROOT)/pkgs/systemd/inferno-auth.sysusers $(KX_D)/lib/sysusers.d/inferno-auth.conf

# /usr/bin/sc-hsm-tool is OpenSC's: whoever wants ours under that name puts its directory before on the PATH.
install-hsm:
	$(INSTALL) -d $(KX_D)/bin $(KX_D)/libexec/kx-hsm $(KX_D)/share/man/man1 $(KX_D)/share/man/man7 \
		$(KX_D)/share/doc/kx-hsm
	$(INSTALL) -m 755 $(KX_BUILT)/kx-hsm $(KX_BUILT)/kx-sc-hsm-tool $(KX_D)/bin/
	ln -sf ../../bin/kx-sc-hsm-tool $(KX_D)/libexec/kx-hsm/sc-hsm-tool
	$(INSTALL) -m 644 $(KX_HSM_MAN1) $(KX_D)/share/man/man1/
	$(INSTALL) -m 644 $(KX_HSM_MAN7) $(KX_D)/share/man/man7/
	$(INSTALL) -m 644 $(KX_ROOT)/docs/xkek.md $(KX_D)/share/doc/kx-hsm/

# Configurations lie among the examples only. The directories of /etc/isakmpd are empty; that of private keys is
# closed.
install-isakmpd:
	$(INSTALL) -d $(KX_D)/bin $(KX_D)/sbin $(KX_D)/share/man/man1 $(KX_D)/share/man/man5 $(KX_D)/share/man/man8 \
		$(KX_D)/lib/sysusers.d $(KX_D)/lib/tmpfiles.d $(DESTDIR)$(SYSCONFDIR)/default $(DESTDIR)$(UNITDIR)
	$(INSTALL) -m 755 $(KX_BUILT)/isakmpd $(KX_BUILT)/certpatch $(KX_D)/sbin/
	$(INSTALL) -m 755 $(KX_BUILT)/keynote $(KX_D)/bin/
	for section in 1 5 8; do \
		$(INSTALL) -m 644 $(KX_IKE)/man/*.$$section $(KX_D)/share/man/man$$section/ || exit 1; \
	done
	$(call kx_install_text,644,$(KX_IKE)/isakmpd.service,$(DESTDIR)$(UNITDIR)/isakmpd.service)
	$(INSTALL) -m 644 $(KX_IKE)/isakmpd.sysusers $(KX_D)/lib/sysusers.d/isakmpd.conf
	$(INSTALL) -m 644 $(KX_IKE)/isakmpd.tmpfiles $(KX_D)/lib/tmpfiles.d/isakmpd.conf
	$(INSTALL) -m 644 $(KX_ROOT)/pkgs/etc/default-isakmpd $(DESTDIR)$(SYSCONFDIR)/default/isakmpd
	$(INSTALL) -d -m 755 $(addprefix $(DESTDIR)/etc/isakmpd/,ca certs crls keynote \
		$(addprefix pubkeys/,ipv4 ipv6 fqdn ufqdn))
	$(INSTALL) -d -m 700 $(DESTDIR)/etc/isakmpd/private
	$(INSTALL) -d $(addprefix $(KX_D)/share/doc/isakmpd/examples/,$(KX_IKE_SAMPLES))
	for sample in $(KX_IKE_SAMPLES); do \
		$(INSTALL) -m 644 $(KX_IKE)/samples/$$sample/* $(KX_D)/share/doc/isakmpd/examples/$$sample/ || exit 1; \
	done

# A clean copy of the tracked files in $(1); without git, of everything but target.
define kx_copy_tree
rm -rf '$(1)' && mkdir -p '$(1)' && cd $(KX_ROOT) && \
if git rev-parse --git-dir > /dev/null 2>&1; then git ls-files -z; \
else find . -path ./target -prune -o -type f -print0; fi | \
tar -c --exclude='interop-tests/vectors' --exclude='interop-tests/fuzz' --null -T - | tar -x -C '$(1)'
endef

KX_PREBUILT_DIR := $(if $(filter-out 0,$(KX_PREBUILT)),$(KX_BUILT))

deb: ## Debian packages in target/deb (KX_PREBUILT=1: from TARGET_DIR)
	$(call kx_copy_tree,$(KX_ROOT)/target/deb/build/kx-$(KX_VERSION))
	cp -R $(KX_ROOT)/pkgs/debian $(KX_ROOT)/target/deb/build/kx-$(KX_VERSION)/debian
	cd $(KX_ROOT)/target/deb/build/kx-$(KX_VERSION) && \
		KX_PREBUILT_DIR='$(KX_PREBUILT_DIR)' MAKEFLAGS= dpkg-buildpackage -b -us -uc
	rm -f $(KX_ROOT)/target/deb/*.deb
	mv $(KX_ROOT)/target/deb/build/*.deb $(KX_ROOT)/target/deb/build/*.changes \
		$(KX_ROOT)/target/deb/build/*.buildinfo $(KX_ROOT)/target/deb/
	rm -rf $(KX_ROOT)/target/deb/build
	ls -l $(KX_ROOT)/target/deb/*.deb

rpm: ## RPM packages in target/rpm (likewise)
ifeq ($(KX_PREBUILT_DIR),)
	cd $(KX_ROOT) && $(CARGO) build --release --locked $(KX_PACKAGES)
endif
	rm -rf $(KX_ROOT)/target/rpm
	mkdir -p $(KX_ROOT)/target/rpm/build
	rpmbuild -bb --define '_topdir $(KX_ROOT)/target/rpm/build' --define 'kx_root $(KX_ROOT)' \
		--define 'kx_built $(if $(KX_PREBUILT_DIR),$(KX_PREBUILT_DIR),$(KX_ROOT)/target/release)' \
		--define 'kx_version $(KX_VERSION)' $(KX_ROOT)/pkgs/rpm/kx.spec
	mv $(KX_ROOT)/target/rpm/build/RPMS/*/*.rpm $(KX_ROOT)/target/rpm/
	rm -rf $(KX_ROOT)/target/rpm/build
	ls -l $(KX_ROOT)/target/rpm/*.rpm

lint-man: ## manual pages
	mandoc -Tlint -W warning $(KX_MAN) $(KX_TCP_MAN8) $(KX_TCP_MAN3) $(KX_KS_MAN1) $(KX_KS_MAN8) $(KX_HSM_MAN1) $(KX_HSM_MAN7) $(KX_IKE_MAN)

lint-shell:
	shellcheck -e SC1091 $(KX_SHELL) $(KX_ROOT)/pkgs/etc/init.d-kxd

# systemd-analyze counts in tenths: 20 is an exposure of 2.0.
lint-units:
	systemd-analyze security --offline=true --threshold=20 --no-pager \
		$(KX_ROOT)/pkgs/systemd/kxd.service > /dev/null
	systemd-analyze security --offline=true --threshold=20 --no-pager \
		$(KX_ROOT)/pkgs/systemd/kxc@.service > /dev/null
	systemd-analyze security --offline=true --threshold=25 --no-pager \
		$(KX_TCPD)/tcpcryptd.service > /dev/null
	systemd-analyze security --offline=true --threshold=30 --no-pager \
		$(KX_IKE)/isakmpd.service > /dev/null
	for unit in $(filter %.service,$(KX_KS_UNITS)); do \
		systemd-analyze security --offline=true --threshold=20 --no-pager \
			$(KX_ROOT)/pkgs/systemd/$$unit > /dev/null || exit 1; \
	done

# The package's list of symbols is that of the library's own test.
lint-symbols:
	sed -n 's/^ \(kx_.*\)@Base .*/\1/p' $(KX_ROOT)/pkgs/debian/libkx0.symbols | \
		diff -u $(KX_ROOT)/libkx/libkx/symbols.txt -
	sed -n 's/^ \(tcpcrypt_.*\)@Base .*/\1/p' $(KX_ROOT)/pkgs/debian/libtcpcrypt0.symbols | \
		diff -u $(KX_TCP)/libtcpcrypt/symbols.txt -

lint-packages: lint-shell lint-units lint-symbols ## scripts, units and target/deb
	lintian --allow-root --fail-on error,warning $(KX_ROOT)/target/deb/*.deb
	rpmlint --strict -r $(KX_ROOT)/pkgs/rpm/kx.rpmlintrc $(KX_ROOT)/pkgs/rpm/kx.spec

test-packages: ## packages in a clean root, over Debian's (root)
	@for t in $(KX_ROOT)/interop-tests/packages/test-*.sh; do \
		echo "== $${t##*/}"; status=0; "$$t" || status=$$?; \
		case $$status in 0 | 77) ;; *) exit 1 ;; esac; \
	done
