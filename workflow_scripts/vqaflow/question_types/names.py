"""Well-known names among the choices, by what shows them in a picture: a label or sign, or the look of the thing."""


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Read from a cup, a can, a shop, a device.
LABELLED = _names(
    """스타벅스 투썸플레이스 투썸 이디야 할리스 할리스커피 커피빈 메가커피 메가MGC커피 컴포즈 컴포즈커피 빽다방 카페베네
    엔제리너스 탐앤탐스 파스쿠찌 폴바셋 블루보틀 공차 더벤티 매머드 파리바게뜨 뚜레쥬르 성심당 던킨 크리스피크림
    배스킨라빈스 맥도날드 버거킹 롯데리아 맘스터치 KFC 서브웨이 도미노 피자헛 교촌 BBQ BHC 굽네 네네치킨 코카콜라 펩시
    스프라이트 칠성사이다 환타 닥터페퍼 마운틴듀 웰치스 밀키스 게토레이 포카리스웨트 파워에이드 레드불 몬스터 핫식스
    박카스 비타500 칸타타 레쓰비 맥스웰하우스 조지아 맥심 카누 티오피 데미소다 트레비 씨그램 제로콜라 봉봉 제티 삼다수
    아이시스 에비앙 비텔 백산수 카스 테라 켈리 하이네켄 칭따오 아사히 삿포로 기네스 버드와이저 호가든 코로나 칼스버그
    스텔라 참이슬 처음처럼 진로 한라산 좋은데이 신라면 진라면 너구리 짜파게티 불닭볶음면 삼양라면 안성탕면 새우깡 포카칩
    초코파이 오예스 홈런볼 고래밥 꼬북칩 빼빼로 프링글스 오레오 킷캣 가나 크런키 드림카카오 자유시간 핫브레이크 몽쉘
    칸쵸 맛동산 양파링 꼬깔콘 썬칩 치토스 바나나킥 허쉬 하리보 스니커즈 페레로 농심 오뚜기 오리온 롯데 해태 크라운
    빙그레 매일유업 서울우유 풀무원 하림 CJ 삼성 엘지 LG 애플 소니 델 레노버 에이수스 아수스 에이서 마이크로소프트
    젠하이저 보스 JBL 뱅앤올룹슨 앤커 로지텍 브라더 엡손 쿠쿠 쿠첸 위니아 로보락 에코백스 드리미 필립스 다이슨 샤오미
    화웨이 니콘 캐논 후지필름 나이키 아디다스 푸마 뉴발란스 반스 컨버스 리복 휠라 아식스 언더아머 노스페이스 샤넬 구찌
    프라다 루이비통 에르메스 유니클로 무인양품 다이소 올리브영 이마트 홈플러스 코스트코 GS25 CU 세븐일레븐 이마트24
    스탠리 써모스 커클랜드 이케아 네이버 카카오 구글 쿠팡 배달의민족 하이트진로 하이트 롯데칠성 오비맥주 국민은행
    신한은행 우리은행 하나은행 농협 새마을금고 SKT KT 대한항공 아시아나 제주항공 starbucks coca-cola pepsi sprite fanta
    nike adidas puma samsung apple sony dell lenovo asus acer hp canon nikon heineken budweiser mcdonald's subway zara
    gucci uniqlo google microsoft"""
)
# Known by the shape of body, grille or lamps: cars and motorcycles.
VEHICLES = _names(
    """KG모빌리티 BYD 폴스타 리비안 맥라렌 부가티 애스턴마틴 미니 피아트 스쿠다 모닝 레이 스파크 코나 니로 EV6 EV9 G80
    GV80 트랙스 토레스 티볼리 렉스턴 포터 마이티 베스파 로얄엔필드 KTM BMW모토라드 현대 기아 제네시스 쌍용 르노 쉐보레
    벤츠 메르세데스-벤츠 BMW 아우디 폭스바겐 포르쉐 테슬라 토요타 도요타 혼다 닛산 렉서스 볼보 재규어 랜드로버 페라리
    람보르기니 포드 지프 푸조 마세라티 벤틀리 롤스로이스 캐딜락 링컨 마쓰다 스바루 야마하 가와사키 스즈키 두카티
    할리데이비슨 소나타 쏘나타 그랜저 아반떼 K5 K7 K9 쏘렌토 싼타페 산타페 투싼 스포티지 카니발 셀토스 팰리세이드
    아이오닉 스타리아 봉고 bmw audi mercedes tesla toyota honda ford hyundai kia porsche ferrari volkswagen"""
)
# Buildings, monuments and places known by sight, and words that are part of such names.
FAMOUS = _names(
    """경복궁 창덕궁 덕수궁 창경궁 경희궁 근정전 경회루 광화문 숭례문 남대문 흥인지문 동대문 숙정문 광희문 돈의문 혜화문
    창의문 팔달문 장안문 독립문 첨성대 불국사 석굴암 다보탑 석가탑 종묘 수원화성 남산타워 N서울타워 서울타워
    롯데월드타워 롯데타워 63빌딩 부산타워 동대문디자인플라자 DDP 국회의사당 청와대 해운대 광안대교 에펠탑 개선문 루브르
    노트르담 베르사유 몽생미셸 콜로세움 피사 피사의 판테온 트레비 두오모 사그라다 가우디 카사 구엘 알함브라 빅벤
    런던아이 타워브리지 버킹엄 스톤헨지 브란덴부르크 베를린 노이슈반슈타인 쾰른 프라하 카를교 쇤브룬 도쿄타워 스카이트리
    오사카성 후시미 금각사 은각사 청수사 후지산 센소지 자금성 만리장성 동방명주 타이베이 타지마할 앙코르와트 페트라
    피라미드 스핑크스 부르즈 마리나베이샌즈 머라이언 오페라하우스 자유의 여신상 엠파이어 금문교 백악관 타임스퀘어
    크라이슬러 마추픽추 예수상 크렘린 파르테논 산토리니 성바실리 바실리 eiffel colosseum tower taj pisa"""
)


def name_counts(choices: list[str]) -> dict[str, int]:
    """How many of the choices have a word in each of the lists."""
    words = [{choice, *choice.split(), *choice.lower().split()} for choice in choices]
    lists = (("labelled", LABELLED), ("vehicle", VEHICLES), ("famous", FAMOUS))
    return {name: sum(not known.isdisjoint(w) for w in words) for name, known in lists}
